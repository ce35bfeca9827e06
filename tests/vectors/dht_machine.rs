//! The table's rows about the DHT's machine.

use crate::support::Decision::Checked;
use crate::support::{Differs, File};
use crate::{AHEAD_60, PROSE, dht_responder, dht_store, dht_table};

const PROVEN_FIRST: &str =
    "dht-weaknesses.md §1, 1: a newcomer that answered takes the place of a node only heard of, without a question";

pub(crate) static ROWS: &[File] = &[
    File {
        path: "dht/network_size.json",
        lists: &[("schema", PROSE), ("cases", Checked(dht_table::network_size))],
        differs: &[],
    },
    File {
        path: "dht/responder.json",
        lists: &[("schema", PROSE), ("cases", Checked(dht_responder::exchanges))],
        differs: &[],
    },
    File {
        path: "dht/routing.json",
        lists: &[("schema", PROSE), ("cases", Checked(dht_table::routing))],
        differs: &[
            Differs { list: "cases", case: "cases[1] op 57; by default", rule: PROVEN_FIRST },
            Differs { list: "cases", case: "cases[1] op 58; by default", rule: PROVEN_FIRST },
            Differs { list: "cases", case: "cases[2] op 56; by default", rule: PROVEN_FIRST },
            Differs { list: "cases", case: "cases[3] op 53; by default", rule: PROVEN_FIRST },
            Differs { list: "cases", case: "cases[6] op 56; by default", rule: PROVEN_FIRST },
            Differs { list: "cases", case: "cases[6] op 58; by default", rule: PROVEN_FIRST },
        ],
    },
    File {
        path: "dht/store.json",
        lists: &[
            ("schema", PROSE),
            ("note", PROSE),
            ("cases", Checked(dht_store::cases)),
            ("limits", Checked(dht_store::limits)),
        ],
        differs: &[
            Differs { list: "cases", case: "cases[0] op 20; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[0] get 4; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[1] op 30; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[1] get 2; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[2] op 1; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[2] op 19; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[3] op 22; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[3] op 30; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[4] op 11; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[4] op 24; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[4] get 0; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[5] op 25; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[6] op 10; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[6] op 17; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[7] op 16; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[7] op 20; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[7] op 22; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[7] op 29; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[7] get 2; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[8] op 5; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[8] op 9; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[9] op 5; by default", rule: AHEAD_60 },
            Differs { list: "cases", case: "cases[9] op 26; by default", rule: AHEAD_60 },
        ],
    },
];
