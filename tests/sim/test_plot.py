"""What must hold of the pictures: well-formed, self-contained, and a point for each result."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from fluxpmix.sim import plot
from fluxpmix.sim.network import NETWORKS
from fluxpmix.sim.run import Result, Setup, simulate

SVG = "{http://www.w3.org/2000/svg}"


def results(shells: tuple[int, ...], sizes: tuple[int, ...], networks: tuple[str, ...] = ("direct",)) -> list[Result]:
    return [
        simulate(Setup(count, size, movement, NETWORKS[network]))
        for count in shells
        for size in sizes
        for network in networks
        for movement in ("tree", "bruck")
    ]


@pytest.mark.parametrize(
    ("shells", "sizes", "networks"),
    [((2, 8, 32), (64,), ("direct",)), ((4,), (1, 1024), ("direct", "flux")), ((2, 16), (64, 4096), ("flux",))],
)
def test_each_result_is_a_point_in_both_panels(
    shells: tuple[int, ...], sizes: tuple[int, ...], networks: tuple[str, ...]
) -> None:
    found = results(shells, sizes, networks)
    tree = ElementTree.fromstring(plot.draw(found))
    points = [circle for circle in tree.iter(f"{SVG}circle") if circle.find(f"{SVG}title") is not None]
    assert len(points) == 2 * len(found)
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    assert all(0 < float(p.attrib["cx"]) < width and 0 < float(p.attrib["cy"]) < height for p in points)


def test_a_picture_needs_nothing_from_elsewhere() -> None:
    text = plot.draw(results((2, 4), (64,)))
    assert "href" not in text and "url(" not in text and "<script" not in text
    assert text.count("http") == 1  # the name of SVG itself


def test_every_line_is_named_in_the_legend() -> None:
    tree = ElementTree.fromstring(plot.draw(results((2, 4), (64,), ("direct", "flux"))))
    texts = {text.text for text in tree.iter(f"{SVG}text")}
    assert {"tree, direct", "bruck, direct", "tree, flux", "bruck, flux"} <= texts
