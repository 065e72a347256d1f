"""ONE table: TRIPOD+AI, the reporting of prediction models, 2024.

References:
    Collins GS, Moons KGM, Dhiman P, et al. (2024): TRIPOD+AI statement: updated guidance for
    reporting clinical prediction models that use regression or machine learning methods. BMJ 385,
    e078378.
"""

from __future__ import annotations

from . import head_facts as head
from . import image_facts as images
from . import score_facts as scores
from .answer import Checklist, Item

_FRONT = (
    Item(
        "1",
        "Title",
        "say in the title: development or evaluation, for whom, and which outcome.",
        (head.technology,),
    ),
    Item(
        "2",
        "Abstract",
        "write it by the list TRIPOD+AI for Abstracts; the numbers are here.",
        (images.data_sets, images.parts, scores.summary),
    ),
    Item("3a", "Context and rationale", "diagnosis or prognosis, why a model, which others exist."),
    Item("3b", "Target population and users", "say for whom, by whom, and where it will be used."),
    Item("3c", "Known inequalities", "name inequalities in health between groups of people."),
    Item("4", "Objectives", "say whether a model is developed, evaluated, or both."),
)
_DATA = (
    Item(
        "5a",
        "Sources of the data",
        "say where each set is from, why it was taken, and whom it represents.",
        (images.data_sets, images.fingerprints),
    ),
    Item("5b", "Dates", "give the first and last date of the images, and of follow-up."),
    Item("6a", "Setting", "say in which and how many centres the patients were seen."),
    Item("6b", "Eligibility", "give the criteria for patients and images.", (images.left_out,)),
    Item("6c", "Treatments", "say which treatments patients had before imaging, if it matters."),
    Item(
        "7",
        "Preparation and quality of the data",
        "add what was done before there were files, and whether it was alike for all groups.",
        (images.files, images.formats, images.copies, images.two_labels),
    ),
    Item(
        "8a",
        "Outcome",
        "define the classes, when and how they were decided, and why this outcome.",
    ),
    Item("8b", "Assessors of the outcome", "describe those who labelled the images."),
    Item("8c", "Blinding of the outcome", "say what those who labelled did not know."),
    Item(
        "9a",
        "Choice of predictors",
        "say why this network and this layer, and whether somebody chose among the features.",
        (head.backbone, head.technology),
    ),
    Item(
        "9b",
        "Definition of predictors",
        "cite the network, and say how images were taken and resized.",
        (head.technology, head.weights),
    ),
    Item(
        "9c",
        "Assessors of predictors",
        "say that none is needed where a network computes the features, or describe them.",
    ),
    Item(
        "10",
        "Sample size",
        "say how the size was chosen for development and for evaluation, and why it is enough.",
        (images.parts, scores.few_images),
    ),
    Item(
        "11",
        "Missing data",
        "say what is missing beside unreadable files, and what was done about it.",
        (images.files,),
    ),
)
_ANALYSIS = (
    Item(
        "12a",
        "Use of the data",
        "say which images develop and which evaluate.",
        (images.parts, images.disjoint),
        whole=True,
    ),
    Item(
        "12b",
        "Handling of predictors",
        "cite how the head scales its features (freezeframe's classify/README.md).",
        (head.technology,),
    ),
    Item(
        "12c",
        "Type and building of the model",
        "say why this head, and how hyper-parameters were chosen (classify/README.md has the "
        "rule).",
        (head.technology, head.hyperparameters, scores.heads_compared, scores.internal),
    ),
    Item(
        "12d",
        "Differences between clusters",
        "say how differences between centres were measured, or that there is one centre.",
        (scores.external,),
    ),
    Item(
        "12e",
        "Measures of performance",
        "say why these measures and plots; report.html has the plots.",
        (scores.measures, scores.comparisons),
    ),
    Item(
        "12f", "Updating after evaluation", "say whether the model was changed by its evaluation."
    ),
    Item(
        "12g",
        "Computing predictions",
        "say how a prediction is computed.",
        (head.model_file, head.software),
        whole=True,
    ),
    Item(
        "13",
        "Class imbalance",
        "say whether classes were weighted or drawn again, and why.",
        (images.classes_tested, head.class_weights),
    ),
    Item("14", "Fairness", "say what was done for fairness, or that nothing was."),
    Item(
        "15",
        "Output and thresholds",
        "say why this threshold.",
        (head.output,),
    ),
    Item(
        "16",
        "Development against evaluation data",
        "name differences in setting, patients, outcome and scanners.",
        (images.data_sets,),
    ),
    Item("17", "Ethics", "name the committee and its number, and consent or its waiver."),
)
_OPEN = (
    Item("18a", "Funding", "name who paid, and what they decided."),
    Item("18b", "Conflicts of interest", "declare those of all authors."),
    Item(
        "18c",
        "Protocol",
        "say where the protocol is, or that there was none.",
        (head.repeat,),
    ),
    Item(
        "18d",
        "Registration",
        "give the register and number, or say that the study was not registered.",
    ),
    Item(
        "18e",
        "Sharing of data",
        "say where the images are available, and on which terms.",
        (images.fingerprints,),
    ),
    Item(
        "18f",
        "Sharing of code",
        "say where the code is available, and on which terms.",
        (head.software, head.repeat),
    ),
    Item("19", "Patients and public", "say how they took part in the study, or that none did."),
)
_RESULTS = (
    Item(
        "20a",
        "Flow of participants",
        "add patients, and those left out before there were files; report.html has a flow diagram.",
        (images.files, images.copies, images.parts, images.classes_tested, images.patients),
    ),
    Item(
        "20b",
        "Characteristics",
        "add dates, age, sex, treatments and missing data of each set.",
        (images.classes_of_files, images.formats),
    ),
    Item(
        "20c",
        "Development against evaluation",
        "add the classes of the training part, and compare age, sex and disease of both.",
        (images.data_sets, images.classes_tested),
    ),
    Item(
        "21",
        "Numbers in each analysis",
        "add the classes of the training part, and the patients of each part.",
        (images.parts, images.classes_tested),
    ),
    Item(
        "22",
        "The full model",
        "say where the fitted head is available, and on which terms.",
        (
            *(head.backbone, head.technology, head.weights),
            *(head.hyperparameters, head.output, head.model_file),
        ),
    ),
    Item(
        "23a",
        "Performance",
        "add scores of subgroups, by sex, age or scanner say.",
        (scores.answers, scores.probabilities, scores.by_patient, scores.baseline),
    ),
    Item(
        "23b",
        "Performance by cluster",
        "add scores of each centre, if there are several.",
        (scores.external,),
    ),
    Item("24", "Updated model", "give the model and its scores after an update, if there was one."),
)
_DISCUSSION = (
    Item("25", "Interpretation", "say what the results mean, beside earlier studies and fairness."),
    Item(
        "26",
        "Limitations",
        "discuss each finding of the report that is listed here, and what no file knows: how the "
        "images were chosen, and for whom the result holds.",
        (scores.weaknesses, images.disjoint, scores.stress, scores.controls),
    ),
    Item("27a", "Poor or missing input", "say what a user does with an image that is poor or odd."),
    Item("27b", "Handling by users", "say what users must do, and what they must know."),
    Item("27c", "Next steps", "say what must be studied before and after the model is used."),
)

TRIPOD = Checklist(
    "tripod.md",
    "TRIPOD+AI 2024: prediction models, 27 items in 52 parts",
    "The numbers follow Collins et al., BMJ 2024, 385:e078378. They were read in copies of its "
    "list, not in the journal: check them against the journal. The names of the items are ours. "
    "This is a draft, and does not replace the journal's form.",
    (
        ("Title, abstract, introduction", _FRONT),
        ("Methods: data, outcome, predictors", _DATA),
        ("Methods: analysis", _ANALYSIS),
        ("Open science, patients and public", _OPEN),
        ("Results", _RESULTS),
        ("Discussion", _DISCUSSION),
    ),
)
