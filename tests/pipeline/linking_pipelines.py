"""Small knowledge bases and pipelines for tests of linking."""

from pathlib import Path

from samarkand.models.knowledge_base import Entity, build_knowledge_base

ENTITIES = [
    Entity("Q90", type="LOC", names={"en": "Paris", "ar": "باريس", "zh": "巴黎"}, weight=100.0),
    Entity("Q830149", type="LOC", names={"en": "Paris"}, aliases={"en": ["Paris, Texas"]}, weight=3.0),
    Entity("Q142", type="LOC", names={"en": "France", "ar": "فرنسا", "zh": "法国"}, weight=90.0),
    Entity("Q47899", type="PER", names={"en": "Paris Hilton"}, weight=10.0),
]


def make_kb(folder: Path) -> Path:
    """Build a knowledge base of a few entities; RETURNS (Path): its file."""
    path = folder / "small.kb"
    build_knowledge_base(path, ENTITIES).close()
    return path
