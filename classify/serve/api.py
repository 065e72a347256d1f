"""The JSON API, version 1."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, abort, current_app, g, request
from werkzeug.exceptions import NotFound

from ...data.output.json import json_text
from ...data.output.version import VERSION
from ...errors import ImageError
from ..prediction.prediction import Prediction
from ..prediction.record import prediction_record
from ..trust.explanation.explanation import Explanation
from .cards import explanation_record, model_record
from .gate.problems import API, problem
from .gate.uploads import Upload, read_uploads
from .openapi import openapi_document
from .service import ServedModel, Service

FORMS = ("json", "png")
"""Forms of an explanation."""


def api_blueprint() -> Blueprint:
    """Return the routes of the API."""
    api = Blueprint("api", __name__, url_prefix=API)
    api.add_url_rule("/health", view_func=health)
    api.add_url_rule("/version", view_func=version)
    api.add_url_rule("/models", view_func=models)
    api.add_url_rule("/openapi.json", view_func=openapi)
    api.add_url_rule("/classify", view_func=classify, methods=["POST"])
    api.add_url_rule("/explain", view_func=explain, methods=["POST"])
    api.add_url_rule("/neighbours", view_func=neighbours, methods=["POST"])
    api.add_url_rule("/picture", view_func=picture, methods=["POST"])
    return api


def service() -> Service:
    """Return the service of the running application."""
    running: Service = current_app.extensions["freezeframe"]
    return running


def answer(value: object, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(json_text(value), status, content_type="application/json")


def health() -> Response:
    """Answer while the server works, with the number of images inside."""
    return answer({"status": "ok", "images_inside": service().admission.inside})


def version() -> Response:
    """Answer with the version of the program and of the API."""
    return answer({"freezeframe": VERSION, "api": 1})


def models() -> Response:
    """Answer with the facts of each model."""
    return answer({"models": [model_record(model) for model in service().models.values()]})


def openapi() -> Response:
    """Answer with the description of this API."""
    return answer(openapi_document(service()))


def classify() -> Response:
    """Predict the images of the request."""
    model = requested_model()
    uploads = received_uploads()
    predictions = service().classify(model, uploads)
    if all(prediction.error for prediction in predictions):
        return problem(422, "no image could be read; `predictions` says why", **_body(predictions))
    return answer({"model": model.name, **_body(predictions)})


def picture() -> Response:
    """Answer with the image of the request as PNG, which every browser can show."""
    try:
        png = service().picture(received_upload())
    except ImageError as error:
        return problem(422, str(error))
    return Response(png, content_type="image/png")


def explain() -> Response:
    """Answer with the evidence of each cell of the image, as numbers or drawn over it."""
    model = requested_model()
    if not model.explains:
        raise NotFound("the model file has no scale for maps; fit the head again")
    class_name = request.args.get("class")
    if class_name is not None and class_name not in model.predictor.model.classes:
        raise NotFound("the model has no such class; /api/v1/models lists its classes")
    form = request.args.get("format", "json")
    if form not in FORMS:
        abort(400, f"format must be one of {', '.join(FORMS)}")
    try:
        upload = received_upload()
        if form == "png":
            png = service().explain(model, upload, class_name, Explanation.overlay)
            return Response(png, content_type="image/png")
        record = service().explain(model, upload, class_name, explanation_record)
    except ImageError as error:
        return problem(422, str(error))
    return answer({"model": model.name, "explanations": [record]})


def neighbours() -> Response:
    """Answer with the training pictures that are nearest to the image of the request."""
    model = requested_model()
    if model.pictures is None:
        raise NotFound("no training pictures of this model; start the server with its --store")
    try:
        nearest = service().nearest(model, received_upload())
    except ImageError as error:
        return problem(422, str(error))
    records = {label: [asdict(near) for near in pictures] for label, pictures in nearest.items()}
    return answer({"model": model.name, "neighbours": records})


def requested_model() -> ServedModel:
    """Return the model that the request names, among the loaded ones; by default the first."""
    name = request.args.get("model")
    if name is None:
        return service().default_model
    model = service().models.get(name)
    if model is None:
        raise NotFound("no model of this name is loaded; /api/v1/models lists them")
    return model


def received_uploads() -> list[Upload]:
    """Return the images of the request, and note their digests for the log."""
    uploads = read_uploads(request, service().limits)
    g.digests = [upload.digest for upload in uploads]
    return uploads


def received_upload() -> Upload:
    """Return the only image of the request."""
    uploads = received_uploads()
    if len(uploads) > 1:
        abort(400, f"the request holds {len(uploads)} images; send one")
    return uploads[0]


def _body(predictions: list[Prediction]) -> dict[str, object]:
    return {"predictions": [prediction_record(prediction) for prediction in predictions]}
