"""The table of what English calls people and things of places."""

from __future__ import annotations

from samarkand.corpora.place_words import place_words
from samarkand.models.alias_keys import alias_key


def test_every_place_is_there_once_and_has_words():
    places = place_words()
    assert len({(place.country, place.name) for place in places}) == len(places)
    for place in places:
        assert place.country or place.name
        assert not place.country or (len(place.country) == 2 and place.country.isupper())
        assert place.words
        assert len(set(map(alias_key, place.words))) == len(place.words)


def test_a_place_is_a_country_a_state_or_a_name():
    words = {(place.country, place.name): place.words for place in place_words()}
    assert words["NL", ""][0] == "Dutch"
    assert words["GB", "Scotland"][0] == "Scottish"
    assert words["US", "Texas"] == ("TX",)
    assert words["", "Africa"] == ("African",)
