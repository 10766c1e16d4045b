//! Seeds that once found something, and what. A change of what happens when may turn a seed into another history, so each
//! of these faults has, where it can be said there, a test of its own beside what was mended.

use crate::history::{Plan, simulate};

/// A seed, after how many faults and wishes it is cut, and what it found.
const FOUND: [(u64, u64, &str); 20] = [
    (5166, 85, "words that came too soon were written by the next rescan, and by nobody before"),
    (5471, 202, "who waits for an address was not told that it is given and no more about to be"),
    (5005, 73, "a failed create counted as running once its job was forgotten"),
    (5985, 67, "patches for a ruleset that is not in force were sent for ever"),
    (5504, 143, "a task outlived its term, and held the store for the numbers of the next one"),
    (
        1_795_374_055_037_357,
        37,
        "a term whose last guest was deleted before all hosts had listed theirs took the store for an empty one",
    ),
    (
        1_795_374_055_042_243,
        90,
        "what was in force before a ruleset was acknowledged was read late, and believed",
    ),
    (
        1_795_374_055_041_470,
        134,
        "nobody removed a record that an original cannot delete, and its guest's status did not ask for it",
    ),
    (
        1_795_374_055_039_620,
        29,
        "a store that is away until it is restored was no excuse for no leader",
    ),
    (
        1_795_374_055_040_644,
        211,
        "where a host had been was written down after where it is, as the store had had no space until then",
    ),
    (
        1_795_391_906_446_000,
        101,
        "guests woke each other without a pause while the store took no commit of theirs",
    ),
    (
        1_795_391_906_448_810,
        90,
        "last wishes that waited for space were lost in a restore, and nobody wrote them again",
    ),
    (
        1_795_401_657_953_761,
        83,
        "rules that were lost before the answer to them came were taken for rules in force, until the rescan",
    ),
    (
        1_795_412_203_096_170,
        97,
        "the first leader after all had come up placed before hosts had registered again and said what they run",
    ),
    (
        1_795_417_310_201_671,
        100,
        "the person of the history accepted another cluster before anybody asked, and once less than each process asks",
    ),
    (
        1_795_421_717_550_850,
        50,
        "an answer from the past acquitted a store that had gone back, and its leader was refused by every host from then on",
    ),
    (
        1_795_428_473_591_647,
        166,
        "a late answer of a machine that was replaced said that the new one has the image",
    ),
    (
        1_795_433_448_685_307,
        38,
        "a store went back by a deletion alone and came as far again, and the view kept what was lost",
    ),
    (
        1_795_433_448_688_860,
        124,
        "a poll that had read before a late ruleset came in force hid it, until the next leader",
    ),
    (
        1_795_435_728_071_329,
        158,
        "where no guest was left nobody asked again what is in force after a read that another had crossed",
    ),
];

#[test]
fn what_a_seed_once_found_it_finds_no_more() {
    let wrong = |(seed, cut, what): &(u64, u64, &str)| {
        let ended = simulate(&Plan { cut: Some(*cut), ..Plan::of(*seed) });
        ended.wrong.map(|wrong| format!("seed {seed}, cut after {cut} ({what}): {wrong}"))
    };
    let wrong: Vec<_> = FOUND.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
