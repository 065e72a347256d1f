"""ONE table: the sections of a model card.

References:
    Mitchell M, Wu S, Zaldivar A, Barnes P, Vasserman L, Hutchinson B, Spitzer E, Raji ID, Gebru T
    (2019): Model cards for model reporting. Proceedings of FAT* '19, 220-229.
"""

from __future__ import annotations

from . import head_facts as head
from . import image_facts as images
from . import score_facts as scores
from .answer import Checklist, Item

_DETAILS = (
    Item("1.1", "Who made it", "name the people, and an address for questions."),
    Item(
        "1.2",
        "Date and version",
        "say when it was fitted, and with which version.",
        (head.fitted, head.software),
        whole=True,
    ),
    Item(
        "1.3",
        "Kind of model",
        "describe network, weights, head and outputs.",
        (head.backbone, head.technology, head.weights, head.output),
        whole=True,
    ),
    Item(
        "1.4",
        "Training",
        "say how it was fitted.",
        (head.hyperparameters, head.seed),
        whole=True,
    ),
    Item("1.5", "Files", "say where it is available.", (head.model_file,)),
    Item("1.6", "Licence and citation", "give the licence, and how to cite it."),
)
_USE = (
    Item("2.1", "Intended uses", "say for which images and questions it is meant."),
    Item("2.2", "Intended users", "say who may use it, and what they must know."),
    Item("2.3", "Uses to avoid", "say what it must not be used for."),
)
_FACTORS = (
    Item("3.1", "Relevant factors", "name groups of people, scanners and sites that may matter."),
    Item(
        "3.2",
        "Factors of the evaluation",
        "say which of them were looked at.",
        (scores.controls, images.patients),
    ),
)
_METRICS = (
    Item(
        "4.1",
        "Measures",
        "say why these measures.",
        (scores.measures,),
    ),
    Item("4.2", "Thresholds", "say why this threshold.", (head.output,)),
    Item(
        "4.3",
        "Uncertainty",
        "cite the methods of the intervals: Statistics in freezeframe's classify/README.md.",
        (scores.accuracy, scores.comparisons),
    ),
)
_EVALUATION = (
    Item(
        "5.1",
        "Test sets",
        "say where they are from.",
        (images.data_sets, images.parts, images.classes_tested),
    ),
    Item("5.2", "Why these sets", "say why they were taken, and whom they represent."),
    Item(
        "5.3",
        "Relation to training",
        "say on which level training and test images are disjoint.",
        (images.disjoint,),
        whole=True,
    ),
)
_TRAINING = (
    Item(
        "6.1",
        "Training set",
        "say where it is from, and whom it represents.",
        (images.files, images.copies, images.classes_of_files, images.fingerprints),
    ),
    Item("6.2", "Preprocessing", "say how the files were made.", (images.formats,)),
)
_RESULTS = (
    Item(
        "7.1",
        "Scores",
        "score it.",
        (scores.answers, scores.probabilities, scores.baseline),
        whole=True,
    ),
    Item(
        "7.2",
        "Scores on other sets and by patient",
        "test on images from elsewhere (--test), and by patient if patients are known.",
        (scores.external, scores.by_patient),
        whole=True,
    ),
    Item("7.3", "Scores by factor", "add scores of the groups and scanners of section 3."),
    Item(
        "7.4",
        "Robustness and mistakes",
        "test it: fit-classifier --stress; robustness edits the files.",
        (scores.stress_or_controls, scores.edits, scores.confusion),
        whole=True,
    ),
)
_ETHICS = (
    Item("8.1", "People in the data", "say how they agreed, and how images were made anonymous."),
    Item("8.2", "Harm", "say what a wrong answer does, and to whom."),
)
_CAVEATS = (
    Item(
        "9.1",
        "What the report found",
        "say what no file knows, and what is to be done about each finding.",
        (scores.weaknesses,),
    ),
    Item("9.2", "Advice to users", "say what to check before it is used elsewhere."),
)

MODEL_CARD = Checklist(
    "model_card.md",
    "Model card",
    "The sections are those of Mitchell et al., Model cards for model reporting, 2019; the numbers "
    "within them are ours.",
    (
        ("1. Model details", _DETAILS),
        ("2. Intended use", _USE),
        ("3. Factors", _FACTORS),
        ("4. Metrics", _METRICS),
        ("5. Evaluation data", _EVALUATION),
        ("6. Training data", _TRAINING),
        ("7. Quantitative analyses", _RESULTS),
        ("8. Ethical considerations", _ETHICS),
        ("9. Caveats and recommendations", _CAVEATS),
    ),
)
