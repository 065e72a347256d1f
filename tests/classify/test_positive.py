"""The positive class: names of well-known image sets, and what a run says of its choice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import cli
from freezeframe.classify.task.positive import choose_positive

from ..conftest import MakeStore

# Folders of classes as published sets have them, the positive one first: OASIS and ADNI
# (dementia), CT of COVID-19, malaria cells, chest radiographs, BreakHis, brain MRI, retinas,
# fractures, concrete, castings, masks, fires, floods, and pairs that only look like negations.
NAMED = """
Demented | NonDemented
Mild Dementia | Non Demented
Very_Mild_Demented | Non_Demented
AD | CN
MCI | NC
CT_COVID | CT_NonCOVID
COVID | non-COVID
Parasitized | Uninfected
PNEUMONIA | NORMAL
malignant | benign
yes | no
brain_tumor | no_tumor
tumor | notumor
Brain Tumor | Healthy
glioma_tumor | normal
WithTumor | WithoutTumor
with_mask | without_mask
WithMask | WithoutMask
defect | good
def_front | ok_front
Positive | Negative
1 | 0
class_1 | class_0
True | False
patient | control
Schizophrenia | Control
Parkinson | Healthy
DR | No_DR
DR | NoDR
Tuberculosis | Normal
fractured | not fractured
fractured | non_fractured
Cracked | Uncracked
cracked | uncracked
autistic | non_autistic
Autistic | Non-Autistic
fire_images | non_fire_images
fire | nofire
wildfire | nowildfire
damage | no_damage
hot_dog | not_hot_dog
Accident | Non Accident
violence | nonviolence
Monkeypox | Others
abnormal | normal
unhealthy | healthy
tumor | tumorfree
relapse | disease_free
nodule | non-nodule
nodule | normal
notch | normal
node_positive | node_negative
node | nonode
something | nothing
sick | well
union | nonunion
HER2+ | HER2-
Infected | noninfected
IDC_1 | IDC_0
positive_control | negative_control
not_normal | normal
ct_abnormal_lung | ct_normal_lung
tumor_tissue | normal_tissue
drowsy | nondrowsy
Drowsy | Non Drowsy
img_0_tumor | img_0_no
Active | Unactive
Effusion | no_finding
Cardiomegaly | No Finding
tumor | normal, no tumor
responder | nonresponder
"""
BY_ALPHABET = """
dog | cat
Dog | Cat
male | female
normal | benign
uniform | nodule
union | node
nevus | melanoma
bees | ants
LGG | HGG
nose | eye
nonsense | missense
unicorn | horse
woman | man
women | men
signal | noise
notebook | book
united | city
"""


def pairs(table: str) -> list[list[str]]:
    return [line.split(" | ") for line in table.strip().splitlines()]


@pytest.mark.parametrize(("positive", "negative"), pairs(NAMED))
def test_a_class_whose_name_is_a_negation_is_the_negative_one(positive: str, negative: str) -> None:
    for classes in ([positive, negative], [negative, positive]):
        assert choose_positive(classes) == (positive, "name")


@pytest.mark.parametrize(("positive", "negative"), pairs(BY_ALPHABET))
def test_names_that_say_nothing_leave_the_choice_to_the_alphabet(
    positive: str, negative: str
) -> None:
    """No word that begins like a negation is one: node, union, uniform, notebook, women."""
    for classes in ([positive, negative], [negative, positive]):
        assert choose_positive(classes) == (positive, "alphabet")


def test_the_option_chooses_and_more_classes_have_no_positive_one() -> None:
    assert choose_positive(["healthy", "tumour"], "healthy") == ("healthy", "option")
    assert choose_positive(["a", "b", "c"]) == (None, "")


def test_a_run_and_the_leaderboard_say_that_the_alphabet_chose(
    make_store: MakeStore, tmp_path: Path
) -> None:
    path = tmp_path / "leaderboard.csv"

    def fit(name: str, classes: tuple[str, str], *more: str) -> Result:
        store = make_store(name, [classes[0]] * 40 + [classes[1]] * 20)
        command = ["fit-classifier", str(store), "--leaderboard", str(path), "--model", "majority"]
        return CliRunner().invoke(cli, [*command, *more])

    def show(*more: str) -> str:
        return CliRunner().invoke(cli, ["leaderboard", str(path), *more]).stdout

    said = fit("a.h5", ("Demented", "NonDemented"))
    assert "computed for Demented; set another class with --positive" in said.stderr
    said = fit("b.h5", ("nevus", "melanoma"), "--positive", "melanoma")
    assert "computed for melanoma\n" in said.stderr
    assert "alphabet" not in show()
    said = fit("c.h5", ("nevus", "melanoma"))
    assert (
        "sensitivity is computed for nevus, the last by alphabet, as no name says which class is "
        "positive; set it with --positive\n" in said.stderr
    )
    # The store of both has the same images: one test set, two classes.
    assert "12 images, positive class Demented\n" in show()
    assert "12 images, positive class nevus (by alphabet)\n" in show("--sort", "sensitivity")
    assert "12 images, positive class melanoma\n" in show("--sort", "sensitivity")
    assert "nevus (by alphabet)" in show("--format", "markdown")
    assert "by alphabet: no name says which class is positive" in show()
    records = json.loads(show("--format", "json"))
    assert {(record["positive"], record["choices"]["positive"]) for record in records} == {
        ("Demented", "name"),
        ("melanoma", "option"),
        ("nevus", "alphabet"),
    }
