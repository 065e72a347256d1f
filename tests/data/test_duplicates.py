"""Near-duplicates: edits are paired, look-alikes are not, and the order of images is irrelevant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from freezeframe.data.duplicates import remembered as pairs_cache
from freezeframe.data.duplicates.by_features import cosine_pairs
from freezeframe.data.duplicates.index import MOST_WITHOUT_INDEX, ThumbnailIndex, spectra
from freezeframe.data.duplicates.lookup import Match, PictureLookup
from freezeframe.data.duplicates.pairs import NearPairs, duplicate_groups, merge_groups, near_pairs
from freezeframe.data.duplicates.remembered import remembered_near_pairs
from freezeframe.data.duplicates.structure import blur_matrix
from freezeframe.data.duplicates.symmetries import SYMMETRY_NAMES, apply_symmetry, inverse
from freezeframe.data.fingerprints import THUMBNAIL, fingerprint
from freezeframe.data.formats.image_file import read_image

from ..conftest import head


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    return fingerprint(np.array(image.convert("RGB"))).thumbnail


def numbers(pairs: NearPairs) -> list[tuple[int, int]]:
    """Return the numbers of the two thumbnails of each pair."""
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def draw_heads(n: int) -> list[Image.Image]:
    """Draw heads that look alike but are all different."""
    return [head(number) for number in range(n)]


def smooth_noise(n: int, seed: int) -> NDArray[np.uint8]:
    """Return thumbnails of smooth noise: look-alikes by their low frequencies, all different."""
    noise = np.random.default_rng(seed).normal(size=(n, THUMBNAIL, THUMBNAIL))
    smooth = gaussian_filter(noise, (0, 4, 4))
    smooth -= smooth.min(axis=(1, 2), keepdims=True)
    smooth *= 255 / smooth.max(axis=(1, 2), keepdims=True)
    return np.asarray(smooth, np.uint8)


def look_alikes(heads: Sequence[Image.Image], n: int) -> NDArray[np.uint8]:
    """Return n thumbnails: heads, then smooth noise, which is drawn quickly."""
    drawn = np.stack([thumbnail(image) for image in heads])
    return np.concatenate([drawn, smooth_noise(n - len(drawn), 0)])


def crop(image: Image.Image, left: float, top: float, share: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (
            round(left * width),
            round(top * height),
            round((left + share) * width),
            round((top + share) * height),
        )
    )


EDITS = {
    "half the size": lambda image: image.resize(
        (image.width // 2, image.height // 2), Image.Resampling.BILINEAR
    ),
    "another shape": lambda image: image.resize((300, 200), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "cropped on the left": lambda image: crop(image, 0.05, 0.02, 0.95),
    "cropped all round": lambda image: crop(image, 0.05, 0.05, 0.9),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned and cropped": lambda image: crop(
        image.transpose(Image.Transpose.ROTATE_270), 0.02, 0.0, 0.95
    ),
}


@pytest.mark.parametrize("side", [16, 32, 64])
def test_no_weight_of_a_blur_is_subnormal(side: int) -> None:
    """Processors multiply such numbers so slowly that a search would take three times as long."""
    for sigma in (side / 32, 3 * side / 64, 0.7, 1.0):
        weights = blur_matrix(side, sigma)
        assert weights.sum(axis=1) == pytest.approx(1)
        assert not ((weights > 0) & (weights < 1e-21)).any()


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_picture_is_paired_with_its_original_only(edit: str) -> None:
    originals = draw_heads(15)
    edited = [EDITS[edit](image) for image in originals]
    near = near_pairs(np.stack([thumbnail(image) for image in [*originals, *edited]]))
    pairs = set(numbers(near))
    assert pairs <= {(number, 15 + number) for number in range(15)}
    assert len(pairs) >= 14


def test_the_index_finds_nearly_all_edited_pairs() -> None:
    originals = draw_heads(40)
    edited = [
        list(EDITS.values())[number % len(EDITS)](image) for number, image in enumerate(originals)
    ]
    thumbnails = np.stack([thumbnail(image) for image in edited])
    thumbnails = np.concatenate([look_alikes(originals, MOST_WITHOUT_INDEX), thumbnails])
    candidates = ThumbnailIndex.fit(thumbnails).candidates(np.arange(len(thumbnails))).pairs
    assert len(candidates) < 0.05 * len(thumbnails) ** 2 / 2
    missed = {(number, MOST_WITHOUT_INDEX + number) for number in range(40)} - set(
        map(tuple, candidates.tolist())
    )
    assert len(missed) <= 1
    assert (candidates[:, 0] < candidates[:, 1]).all()


@settings(max_examples=3, derandomize=True, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(0, 299), st.sampled_from(sorted(EDITS))), min_size=4, max_size=4
    ),
    st.integers(0, 2**31),
)
def test_edited_copies_are_found_among_smooth_look_alikes(
    hidden: list[tuple[int, str]], seed: int
) -> None:
    noise = smooth_noise(300, seed)
    # Larger than a thumbnail, so that half the size is enough for one.
    large = [Image.fromarray(noise[row]).resize((256, 256)) for row, _ in hidden]
    edited = [thumbnail(EDITS[edit](image)) for image, (_, edit) in zip(large, hidden, strict=True)]
    pairs = near_pairs(np.concatenate([noise, np.stack(edited)]))
    of = np.concatenate([np.arange(300), [row for row, _ in hidden]])
    # Two edits of one picture may be paired, too.
    assert (of[pairs.first] == of[pairs.second]).all()
    groups = merge_groups(np.arange(len(of)), pairs.first, pairs.second)
    assert all(groups[300 + number] == groups[row] for number, (row, _) in enumerate(hidden))


def test_few_comparisons_are_made_of_each_look_alike() -> None:
    totals: list[int] = []
    n = 500
    thumbnails = smooth_noise(n, 1)
    assert not len(near_pairs(thumbnails, progress=lambda done, total: totals.append(total)))
    assert max(totals) < 8 * n
    # The index alone names many more.
    assert len(ThumbnailIndex.fit(thumbnails).candidates(np.arange(n)).pairs) > 10 * n


def test_the_symmetry_of_a_pair_undoes_the_applied_one() -> None:
    original = np.asarray(thumbnail(draw_heads(1)[0]))
    for number in range(len(SYMMETRY_NAMES)):
        pairs = near_pairs(np.stack([original, apply_symmetry(original, number)]))
        assert pairs.symmetry.tolist() == [inverse(number)]
        assert pairs.score[0] > 0.99


def test_blank_pictures_are_paired_with_equal_ones_only() -> None:
    levels = [
        np.full((THUMBNAIL, THUMBNAIL), level, np.uint8)
        for level in (0, 1, 128, 233, 255, 240, 128)
    ]
    noise = np.random.default_rng(0).integers(0, 2, (4, THUMBNAIL, THUMBNAIL)).astype(np.uint8)
    pairs = near_pairs(np.stack([*levels, *noise]))
    assert numbers(pairs) == [(2, 6)]


def test_copies_are_found_among_blank_pictures() -> None:
    originals = draw_heads(8)
    shown = [
        thumbnail(image) for image in [*originals, *map(EDITS["cropped on the left"], originals)]
    ]
    blank = [np.full((THUMBNAIL, THUMBNAIL), number % 256, np.uint8) for number in range(600)]
    pairs = near_pairs(np.stack([*blank, *shown]))
    assert {(600 + number, 608 + number) for number in range(8)} <= set(numbers(pairs))


def test_two_large_families_of_one_picture_are_joined() -> None:
    original = draw_heads(1)[0]
    smaller = crop(original, 0.05, 0.05, 0.9)
    family = [
        ImageEnhance.Brightness(image).enhance(0.8 + 0.004 * number)
        for image in (original, smaller)
        for number in range(150)
    ]
    thumbnails = np.stack([thumbnail(image) for image in family])
    groups = duplicate_groups([""] * 300, [""] * 300, thumbnails)
    assert set(groups.tolist()) == {0}


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.data())
def test_equal_thumbnails_are_paired_across_all_sides(
    kinds: list[int], data: st.DataObject
) -> None:
    sides = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(kinds), max_size=len(kinds))),
        dtype=np.intp,
    )
    thumbnails = np.stack([np.full((THUMBNAIL, THUMBNAIL), 60 * kind, np.uint8) for kind in kinds])
    pairs = near_pairs(thumbnails, sides=sides)
    assert all(kinds[a] == kinds[b] and sides[a] != sides[b] for a, b in numbers(pairs))
    paired = {(a, sides[b]) for a, b in numbers(pairs)}
    paired |= {(b, sides[a]) for a, b in numbers(pairs)}
    candidates = {(a, sides[b]) for a in range(len(kinds)) for b in range(len(kinds))}
    assert paired == {
        (a, s)
        for a, s in candidates
        if sides[a] != s and any(kinds[b] == kinds[a] for b in np.flatnonzero(sides == s))
    }


def test_with_sides_only_pairs_across_them_are_found() -> None:
    n = MOST_WITHOUT_INDEX + 20
    originals = look_alikes(draw_heads(30), n)
    thumbnails = np.concatenate([originals, originals[:3]])
    thumbnails[-3:, 0, 0] ^= 1
    thumbnails[1] = apply_symmetry(thumbnails[0], 1)
    sides = np.array([0] * n + [1] * 3)
    pairs = near_pairs(thumbnails, sides=sides)
    assert {(0, n), (2, n + 2)} <= set(numbers(pairs))
    assert (sides[pairs.first] != sides[pairs.second]).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_or_no_pictures_have_no_pairs(n: int) -> None:
    thumbnails = np.stack([thumbnail(image) for image in draw_heads(2)])[:n]
    assert len(near_pairs(thumbnails)) == 0
    assert duplicate_groups(["a", "b"][:n], ["c", "d"][:n], thumbnails).tolist() == list(range(n))
    assert len(near_pairs(thumbnails, sides=np.arange(n))) == 0


@settings(max_examples=25)
@given(st.integers(0, 7), st.integers(0, 2**31))
def test_spectra_do_not_depend_on_the_symmetry(number: int, seed: int) -> None:
    image = (
        np.random.default_rng(seed).integers(0, 256, (1, THUMBNAIL, THUMBNAIL)).astype(np.float32)
    )
    assert np.allclose(
        spectra(image), spectra(np.ascontiguousarray(apply_symmetry(image, number))), atol=1e-5
    )


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
    st.permutations(range(12)),
)
def test_groups_do_not_depend_on_the_order_of_pairs(
    pairs: list[tuple[int, int]], order: list[int]
) -> None:
    array = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    shuffled = array[[place for place in order if place < len(pairs)]]
    groups = merge_groups(np.arange(10), array[:, 0], array[:, 1])
    assert groups.tolist() == merge_groups(np.arange(10), shuffled[:, 1], shuffled[:, 0]).tolist()
    assert all(groups[a] == groups[b] for a, b in pairs)


def test_copies_are_grouped_by_bytes_pixels_and_looks() -> None:
    first, second = (thumbnail(image) for image in draw_heads(2))
    thumbnails = np.stack([first, second, second, apply_symmetry(first, 4), second])
    groups = duplicate_groups(["a", "b", "b", "c", ""], ["p", "q", "", "r", "q"], thumbnails)
    assert groups.tolist() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("name", ["edureka4600/brain_tumor/Cancer (1).jpg", "navoneel/yes/Y1.jpg"])
def test_a_real_scan_is_paired_with_its_real_edits(
    datasets: Path, name: str, tmp_path: Path
) -> None:
    image = Image.fromarray(read_image(datasets / name))
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "a.jpg", quality=40)
    crop(image, 0.03, 0.0, 0.95).resize((180, 190)).save(tmp_path / "b.webp")
    edited = [Image.fromarray(read_image(tmp_path / file)) for file in ("a.jpg", "b.webp")]
    pairs = near_pairs(
        np.stack([thumbnail(picture) for picture in [image, *edited, *draw_heads(5)]])
    )
    assert numbers(pairs) == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]


def test_neighbouring_slices_of_real_scans_are_not_paired(datasets: Path) -> None:
    """Outlines of different heads agree, so the comparison must look inside."""
    names = [
        f"edureka4600/no_tumor/Not Cancer  ({number}).jpg"
        for number in (100, 103, 168, 175, 199, 205)
    ]
    pairs = near_pairs(
        np.stack([fingerprint(read_image(datasets / name)).thumbnail for name in names])
    )
    assert not len(pairs)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.5, 0.999))
def test_cosine_pairs_are_complete(seed: int, similarity: float) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))).astype(np.float32)
    features[7] = 0
    first, second, cosine = cosine_pairs(features, similarity)
    units = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    all_cosines = np.triu(units @ units.T, 1)
    expected = set(
        zip(*(part.tolist() for part in np.nonzero(all_cosines >= similarity + 1e-5)), strict=True)
    )
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert expected <= pairs
    assert all(all_cosines[pair] >= similarity - 1e-5 for pair in pairs)
    assert len(cosine) == len(first)


class TestRemembered:
    def search(self) -> list[list[float]]:
        thumbnails = np.stack([thumbnail(image) for image in draw_heads(4)] * 2)
        thumbnails[4:, 0, 0] ^= 1
        return [column.tolist() for column in vars(remembered_near_pairs(thumbnails)).values()]

    def test_a_second_search_compares_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first = self.search()
        monkeypatch.setattr(pairs_cache, "near_pairs", None)
        assert self.search() == first
        assert len(first[0]) == 4

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None, b"\x93NUMPY"])
    def test_a_damaged_cache_costs_time_only(
        self, damage: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first = self.search()
        (file,) = tmp_path.rglob("*.npz")
        if damage is None:
            np.savez(
                file,
                first=np.array([7, 1]),
                second=np.array([1, 90]),
                score=np.float32([1, 1]),
                symmetry=[0, 99],
            )
        else:
            file.write_bytes(damage)
        assert self.search() == first

    @pytest.mark.filterwarnings("ignore::freezeframe.errors.CacheWarning")
    def test_a_cache_that_cannot_be_written_is_skipped(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert len(self.search()[0]) == 4

    def test_old_files_are_deleted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(pairs_cache, "REMEMBERED_FILES", 2)
        for n in (1, 2, 3, 4):
            remembered_near_pairs(np.stack([thumbnail(image) for image in draw_heads(n)]))
        assert len(list(tmp_path.rglob("*.npz"))) == 2


@pytest.mark.parametrize("n", [20, MOST_WITHOUT_INDEX + 1])
def test_a_lookup_finds_what_pairs_across_two_sides_are(n: int) -> None:
    """Without an index, and with one; edits are found, look-alikes are not."""
    heads = draw_heads(30)
    thumbnails = look_alikes(heads[10:], n)
    edits = list(EDITS.values())
    new = [edits[number % len(edits)](heads[10 + 2 * number]) for number in range(9)]
    pictures = np.stack([thumbnail(image) for image in [*heads[:10], *new]])
    sides = np.repeat([0, 1], [len(pictures), len(thumbnails)])
    near = near_pairs(np.concatenate([pictures, thumbnails]), sides=sides)
    expected = {first: second - len(pictures) for first, second in numbers(near)}
    assert len(expected) == 9
    lookup = PictureLookup(thumbnails)
    matches = {place: lookup.find(picture) for place, picture in enumerate(pictures)}
    found = {place: match for place, match in matches.items() if match}
    assert {place: match.place for place, match in found.items()} == expected
    symmetries = dict(zip(near.first.tolist(), near.symmetry.tolist(), strict=True))
    assert {place: match.symmetry for place, match in found.items()} == symmetries


def test_a_blank_picture_is_looked_up_among_equal_ones_only() -> None:
    lookup = PictureLookup(np.stack([np.full((THUMBNAIL,) * 2, level) for level in (0, 7)]))
    assert lookup.find(np.full((THUMBNAIL,) * 2, 7, np.uint8)) == Match(1, 1.0, 0)
    assert lookup.find(np.full((THUMBNAIL,) * 2, 8, np.uint8)) is None
    assert lookup.find(thumbnail(head(0))) is None
    assert PictureLookup(np.empty((0, 64, 64), np.uint8)).find(thumbnail(head(0))) is None
