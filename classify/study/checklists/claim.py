"""ONE table: CLAIM, the checklist for artificial intelligence in medical imaging, update of 2024.

References:
    Tejani AS, Klontzas ME, Gatti AA, Mongan JT, Moy L, Park SH, Kahn CE Jr (2024): Checklist for
    artificial intelligence in medical imaging (CLAIM): 2024 update. Radiology: Artificial
    Intelligence 6(4), e240300.
"""

from __future__ import annotations

from . import head_facts as head
from . import image_facts as images
from . import score_facts as scores
from .answer import Checklist, Item

_FRONT = (
    Item(
        "1",
        "Title names the technology",
        "say in the title that the study is about AI, and of which kind.",
        (head.technology,),
    ),
    Item(
        "2",
        "Abstract",
        "write a structured summary of design, data, results and conclusion; the numbers are here.",
        (images.data_sets, images.parts, scores.summary),
    ),
    Item(
        "3",
        "Background and intended use",
        "give the clinical background, and the role that the head is meant to have.",
    ),
    Item("4", "Aims and hypotheses", "state the aims, and hypotheses if there were any."),
)
_DESIGN = (
    Item(
        "5",
        "Prospective or retrospective",
        "say whether the images were collected for this study, or were there before.",
    ),
    Item("6", "Goal of the study", "say what the study is for: feasibility, a new model, a test."),
)
_DATA = (
    Item(
        "7",
        "Sources of the data",
        "say where each set is from, with links, dates, versions and licences.",
        (images.data_sets, images.fingerprints),
    ),
    Item(
        "8",
        "Who and what is included",
        "give the criteria by which patients and images were chosen.",
        (images.left_out,),
    ),
    Item(
        "9",
        "Preprocessing",
        "say how the files were made from the originals (windows, crops, conversions), and cite "
        "how freezeframe resizes and scales them (its extract/README.md).",
        (images.formats,),
    ),
    Item(
        "10",
        "Subsets",
        "say whether the images are a part of larger data, and how it was chosen.",
        (images.subset,),
    ),
    Item("11", "De-identification", "say how, and by whom, the images were made anonymous."),
    Item(
        "12",
        "Missing data",
        "say what is missing (images, labels, clinical data), and what was done about it.",
        (images.files,),
    ),
    Item(
        "13",
        "Acquisition of the images",
        "name modality, manufacturers, scanners, sequences and their parameters.",
    ),
)
_REFERENCE = (
    Item("14", "Definition of the labels", "define each class, and how an image gets its label."),
    Item("15", "Why these labels", "say why this reference standard, and what else there is."),
    Item("16", "Who labelled", "name the number, training and experience of those who labelled."),
    Item("17", "Labels of the test images", "say how, and with which tools, they were labelled."),
    Item(
        "18",
        "Agreement between labels",
        "measure how far those who labelled agree, and say how doubts were settled.",
        (images.two_labels,),
    ),
)
_PARTS = (
    Item(
        "19",
        "Assignment to parts",
        "say why the images were parted like this.",
        (images.parts, images.classes_tested),
    ),
    Item(
        "20",
        "Level on which parts are disjoint",
        "say on which level training and test images are disjoint: picture, examination, patient.",
        (images.disjoint,),
        whole=True,
    ),
    Item(
        "21",
        "Intended number of test images",
        "say how many were intended and why: by a calculation, or because there were no more.",
        (images.parts, scores.few_images),
    ),
)
_MODEL = (
    Item(
        "22",
        "Description of the model",
        "describe network, layer, pooling and head, inputs and outputs, or cite their sources.",
        (head.backbone, head.technology, head.weights, head.hyperparameters, head.output),
        whole=True,
    ),
    Item(
        "23",
        "Software",
        "name the versions of Python and of the libraries: freezeframe doctor prints them.",
        (head.software,),
    ),
    Item(
        "24",
        "Initial parameters",
        "say where the weights of the network are from, and how the head starts.",
        (head.weights, head.seed),
        whole=True,
    ),
)
_TRAINING = (
    Item(
        "25",
        "Training",
        "say how hyper-parameters were chosen (freezeframe's classify/README.md has the rule), and "
        "whether images were augmented.",
        (head.hyperparameters, head.output, head.seed),
    ),
    Item(
        "26",
        "Choice of the final model",
        "say why this head is the one that is reported, and that the test images did not choose "
        "it.",
        (scores.heads_compared, head.hyperparameters),
    ),
    Item("27", "Ensembles", "describe the parts of an ensemble.", (head.single_head,), whole=True),
)
_EVALUATION = (
    Item(
        "28",
        "Measures of performance",
        "say why these measures, and which one counts most.",
        (scores.measures,),
    ),
    Item(
        "29",
        "Uncertainty and significance",
        "cite the methods of the intervals: Statistics in freezeframe's classify/README.md.",
        (scores.accuracy, scores.comparisons),
    ),
    Item(
        "30",
        "Robustness",
        "test what is not stated here: fit-classifier --stress has look-alikes on one side, "
        "--control shuffled-labels a control; robustness edits the files.",
        (scores.stress_or_controls, scores.edits),
        whole=True,
    ),
    Item(
        "31",
        "Explanations",
        "say how the maps were made and checked (explain --check), or that there are none.",
        (scores.explained,),
    ),
    Item(
        "32",
        "Internal test",
        "test on images of the training set that are kept out.",
        (scores.internal,),
        whole=True,
    ),
    Item(
        "33",
        "External test",
        "test on images from elsewhere (--test), or say why there are none.",
        (scores.external,),
        whole=True,
    ),
    Item(
        "34",
        "Registration of a trial",
        "give the register and number, or say that the study is no trial.",
    ),
)
_RESULTS = (
    Item(
        "35",
        "Numbers included and excluded",
        "add patients and examinations, and those left out before there were files; report.html "
        "has a flow diagram.",
        (images.files, images.copies, images.parts, images.patients),
    ),
    Item(
        "36",
        "Characteristics of each part",
        "add age, sex, disease and scanners of each part.",
        (images.classes_of_files, images.classes_tested),
    ),
    Item(
        "37",
        "Performance on all parts and groups",
        "add scores of subgroups, by sex, age or scanner say.",
        (scores.internal, scores.external, scores.by_patient, scores.baseline),
    ),
    Item(
        "38",
        "Diagnostic performance with precision",
        "give sensitivity, specificity and area under the ROC curve with intervals.",
        (scores.answers, scores.probabilities),
        whole=True,
    ),
    Item(
        "39",
        "Analysis of mistakes",
        "look at the mistakes (report.html shows the surest), and say what they have in common.",
        (scores.confusion,),
    ),
)
_DISCUSSION = (
    Item(
        "40",
        "Limitations",
        "discuss each finding of the report that is listed here, and what no file knows: how the "
        "images were chosen, and for whom the result holds.",
        (scores.weaknesses, images.disjoint, scores.controls),
    ),
    Item("41", "Meaning for practice", "say what would change in practice, and what is missing."),
)
_OTHER = (
    Item(
        "42",
        "Protocol and technical details",
        "say where the protocol is, or that there was none before the study.",
        (head.repeat,),
    ),
    Item(
        "43",
        "Availability",
        "say where code, fitted head and images are available, and on which terms.",
        (head.software, head.model_file),
    ),
    Item("44", "Funding", "name who paid, and what they decided."),
)

CLAIM = Checklist(
    "claim.md",
    "CLAIM 2024: artificial intelligence in medical imaging, 44 items",
    "The numbers follow Tejani et al., Radiology: Artificial Intelligence 2024, 6(4):e240300. They "
    "were read in copies of its list, not in the journal: check them against the journal. The "
    "names of the items are ours. This is a draft, and does not replace the journal's form.",
    (
        ("Title, abstract, introduction", _FRONT),
        ("Methods: study design", _DESIGN),
        ("Methods: data", _DATA),
        ("Methods: reference standard", _REFERENCE),
        ("Methods: data partitions and testing data", _PARTS),
        ("Methods: model", _MODEL),
        ("Methods: training", _TRAINING),
        ("Methods: evaluation", _EVALUATION),
        ("Results", _RESULTS),
        ("Discussion", _DISCUSSION),
        ("Other information", _OTHER),
    ),
)
