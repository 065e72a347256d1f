"""The description of the API, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from ...data.output.version import VERSION
from .gate.problems import API, PROBLEM_TYPE
from .gate.uploads import PART
from .service import Service

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
# The form of OpenAPI 3.0, which most generators of clients take for a part with a file name.
_PART: Schema = {"type": "string", "format": "binary"}
_FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}

_PROBLEMS = {
    "400": "The request holds no image.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from another site, or names another host.",
    "404": "No model or class of this name is loaded.",
    "413": "The body is too large, or holds too many images.",
    "415": "The type of the body is not accepted.",
    "422": "No image could be read.",
    "503": "The server is busy; Retry-After says when to try again.",
}


def openapi_document(service: Service) -> Schema:
    """Return the document for the models that a service has loaded."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "freezeframe",
            "version": VERSION,
            "description": "Classifies images with a fitted head. For research, not for diagnosis.",
        },
        "paths": {API + path: item for path, item in _paths(service).items()},
        "components": {"schemas": _schemas()},
    }


def _paths(service: Service) -> dict[str, Schema]:
    """Return each path with its operations."""
    model = {
        "name": "model",
        "in": "query",
        "description": "Name of a loaded model; the first one by default.",
        "schema": {"enum": list(service.models)},
    }
    return {
        "/health": _reader("health", "Is the server at work?", _ref("Health")),
        "/version": _reader("version", "Versions of program and API", _ref("Version")),
        "/models": _reader("models", "The loaded models and their scores", _ref("Models")),
        "/openapi.json": _reader("openapi", "This document", {"type": "object"}),
        "/classify": _sender(
            "classify",
            "Predict one or many images",
            _json_content(_ref("Answer")),
            [model],
            most=service.limits.images,
        ),
        "/explain": _sender(
            "explain",
            "Show what speaks for and against a class",
            {**_json_content(_ref("Explained")), "image/png": {"schema": _FILE}},
            [model, *_explain_parameters(service)],
        ),
        "/neighbours": _sender(
            "neighbours",
            "Show the training pictures that are nearest to one image",
            _json_content(_ref("Neighbours")),
            [model],
        ),
        "/picture": _sender("picture", "Show one image as PNG", {"image/png": {"schema": _FILE}}),
    }


def _explain_parameters(service: Service) -> list[Schema]:
    names = (model.predictor.model.classes for model in service.models.values())
    classes = sorted({name for group in names for name in group})
    return [
        {
            "name": "class",
            "in": "query",
            "description": "Class of the model; the predicted one by default.",
            "schema": {"enum": classes},
        },
        {
            "name": "format",
            "in": "query",
            "description": "Form of the answer: numbers, or a picture.",
            "schema": {"enum": ["json", "png"], "default": "json"},
        },
    ]


def _reader(name: str, summary: str, schema: Schema) -> Schema:
    """Return a path that is read by GET."""
    responses = {"200": {"description": "Done.", "content": _json_content(schema)}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "responses": responses | _problems("401", "403"),
        }
    }


def _sender(
    name: str,
    summary: str,
    content: Schema,
    parameters: list[Schema] | None = None,
    most: int = 1,
) -> Schema:
    """Return a path that images are sent to by POST.

    Args:
        name: name of the operation.
        summary: one line about it.
        content: content of the answer, by its type.
        parameters: further parameters.
        most: most images of one request.
    """
    files = {"type": "array", "items": _PART, "minItems": 1, "maxItems": most}
    form = _object(**{PART: files}) | {"additionalProperties": False}
    raw = {"schema": _FILE | {"minLength": 1}}
    body = {
        "multipart/form-data": {"schema": form},
        "application/octet-stream": raw,
        "application/dicom": raw,
        "image/*": raw,
    }
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": parameters or [],
            "requestBody": {"required": True, "content": body},
            "responses": {"200": {"description": "Done.", "content": content}}
            | _problems(*_PROBLEMS),
        }
    }


def _problems(*codes: str) -> Schema:
    content = {PROBLEM_TYPE: {"schema": _ref("Problem")}}
    problems = {code: {"description": _PROBLEMS[code], "content": content} for code in codes}
    if "503" in problems:
        header = {"required": True, "schema": {"type": "integer", "minimum": 1}}
        problems["503"] = problems["503"] | {"headers": {"Retry-After": header}}
    return problems


def _json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Schema) -> Schema:
    """Return an object with properties, all of which are required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _doubts() -> dict[str, Schema]:
    """Return the properties that the guards add to an answer."""
    copy = _object(level=_TEXT, path=_TEXT, label=_TEXT, symmetry=_TEXT)
    return {
        "known": copy
        | {
            "type": ["object", "null"],
            "description": "The training image that the image is a copy of, if it was looked up.",
        },
        "familiar": {
            "type": ["boolean", "null"],
            "description": "False if the image is unlike the training images; null if not known.",
        },
        "distance_percentile": {
            "type": ["number", "null"],
            "description": "Per cent of the training images that are nearer to the others.",
            "minimum": 0,
            "maximum": 100,
        },
    }


def _sets() -> dict[str, Schema]:
    """Return the properties of an answer that a head may withhold."""
    return {
        "cannot_say": {
            "type": ["boolean", "null"],
            "description": "True if `prediction_set` is not the label alone, so that the label may "
            "well be wrong; null if the model has no error rate.",
        },
        "prediction_set": {
            "type": ["array", "null"],
            "items": _TEXT,
            "description": "The classes that the image may be of, none or several, by the error "
            "rate of the model; null if it has none.",
        },
    }


def _prediction() -> Schema:
    """Return the answer about one image."""
    prediction = _object(
        path=_TEXT | {"description": "The name of the file as sent."},
        label=_TEXT | {"description": 'The predicted class; "" for an unreadable image.'},
        probabilities={"type": "object", "additionalProperties": _SHARE},
    )
    prediction["properties"] |= _sets() | _doubts()
    prediction["properties"]["frames"] = {
        "type": "integer",
        "description": "Frames of the file, if there are several; the first one is predicted.",
        "minimum": 2,
    }
    prediction["properties"]["error"] = _TEXT | {"description": "Only of an unreadable image."}
    return prediction


def _scores() -> Schema:
    """Return the scores of a model on one test set."""
    interval = {
        "description": "A score and the ends of its 95 % interval.",
        "type": ["array", "null"],
        "items": {"type": "number"},
        "minItems": 3,
        "maxItems": 3,
    }
    of_two = interval | {
        "description": "A score of `positive` and the ends of its 95 % interval; null with more "
        "than two classes, where no PPV follows from it."
    }
    measured = {
        "sensitivity": of_two,
        "specificity": of_two,
        "accuracy": interval,
        "roc_auc": interval,
    }
    by_patient = _object(unit=_TEXT, n=_COUNT, **measured)
    return _object(
        test_set=_TEXT,
        split=_TEXT,
        clean={"type": "boolean"},
        grade={
            "type": "string",
            "description": "patients parted, pictures parted, leaking, or empty where unknown.",
        },
        by_patient=by_patient | {"type": ["object", "null"]},
        n_train=_COUNT,
        n_images=_COUNT,
        n_groups=_COUNT,
        n_leaking=_COUNT,
        **measured,
    )


def _model() -> Schema:
    """Return the card of a model."""
    threshold = _object(**{"class": {"type": ["string", "null"]}, "value": _SHARE})
    return _object(
        name=_TEXT,
        head=_TEXT,
        classes={"type": "array", "items": _TEXT},
        positive={"type": ["string", "null"]},
        threshold=threshold | {"type": ["object", "null"]},
        layer=_TEXT,
        pooling=_TEXT,
        engine=_TEXT,
        input_size={"type": "array", "items": {"type": "integer"}},
        provenance={"type": "object"},
        cannot_say=_object(error_rate=_SHARE, n_groups=_COUNT)
        | {
            "type": ["object", "null"],
            "description": "Greatest share of wrong answers about images like the training images, "
            "and the number of independent images that it was calibrated by.",
        },
        guards=_object(copies={"type": "boolean"}, unfamiliar={"type": "boolean"}),
        explains={"type": "boolean"},
        neighbours={"type": "boolean"},
        scores={"type": "array", "items": _scores()},
    )


def _explanation() -> Schema:
    """Return the explanation of one image."""
    number = {"type": ["number", "null"]}
    explanation = _object(
        path=_TEXT,
        label=_TEXT,
        **{"class": _TEXT},
        probability=_SHARE,
        logit=number,
        base=number,
        contributions={"type": "array", "items": {"type": "array", "items": number}},
        completeness_error=number,
        method=_TEXT,
        layer=_TEXT,
        scale=number,
        note=_TEXT,
    )
    explanation["properties"] |= _doubts()
    return explanation


def _schemas() -> dict[str, Schema]:
    """Return the objects of the answers."""
    predictions = {"type": "array", "items": _ref("Prediction")}
    problem = _object(type=_TEXT, title=_TEXT, status={"type": "integer"}, detail=_TEXT)
    problem["properties"]["predictions"] = predictions
    similarity = {"type": "number"}
    neighbour = _object(path=_TEXT, label=_TEXT, similarity=similarity, thumbnail=_TEXT)
    by_class = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": neighbour},
    }
    explanations = {"type": "array", "items": _explanation()}
    return {
        "Answer": _object(model=_TEXT, predictions=predictions),
        "Explained": _object(model=_TEXT, explanations=explanations),
        "Health": _object(status=_TEXT, images_inside={"type": "integer", "minimum": 0}),
        "Model": _model(),
        "Models": _object(models={"type": "array", "items": _ref("Model")}),
        "Neighbours": _object(model=_TEXT, neighbours=by_class),
        "Prediction": _prediction(),
        "Problem": problem,
        "Version": _object(freezeframe=_TEXT, api={"type": "integer"}),
    }
