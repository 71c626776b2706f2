//! The world of one story: who is in it, where it happens and which things matter; no sentences.

use super::words::{self, Kind, Place};
use sinterlm_config::KeyRng;

/// How a character is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pronoun {
    He,
    She,
    It,
}

impl Pronoun {
    /// The form a template names by its masculine: `he him his himself`.
    pub(super) fn form(self, masculine: &str) -> Option<&'static str> {
        let row = match masculine {
            "he" => ["he", "she", "it"],
            "him" => ["him", "her", "it"],
            "his" => ["his", "her", "its"],
            "himself" => ["himself", "herself", "itself"],
            _ => return None,
        };
        Some(row[self as usize])
    }
}

/// Whether a story is about children or about talking animals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Realm {
    Town,
    Wild,
}

/// Someone in the story.
#[derive(Clone, Debug)]
pub(super) struct Character {
    /// One letter by which templates name the part played.
    pub(super) role: &'static str,
    pub(super) pronoun: Pronoun,
    /// As used once known: *Tom*, *the old turtle*.
    pub(super) name: String,
    /// As first met: *a shy boy named Tom*, *an old turtle*.
    pub(super) intro: String,
    /// *boy*, *rabbit*, *kitten*.
    pub(super) kind: String,
    /// How this one went somewhere: *walked*, *hopped*.
    pub(super) went: &'static str,
    /// *hands*, *paws*.
    pub(super) hands: &'static str,
}

/// The cast and the named values of one story.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) realm: Realm,
    pub(super) cast: Vec<Character>,
    slots: Vec<(&'static str, String)>,
}

impl World {
    /// Draws a cast, a place and the things of a story in `realm`.
    pub(super) fn draw(rng: &mut KeyRng, realm: Realm) -> Self {
        let mut world = Self {
            realm,
            cast: Vec::with_capacity(6),
            slots: Vec::with_capacity(48),
        };
        world.draw_cast(rng);
        world.draw_place(rng);
        world.draw_things(rng);
        world
    }

    /// The value under `key`, if it is set.
    pub(super) fn slot(&self, key: &str) -> Option<&str> {
        self.slots
            .iter()
            .rev()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Sets `key`; a later value hides an earlier one.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.slots.push((key, value.into()));
    }

    /// Position in the cast of the one who plays `role`.
    pub(super) fn role(&self, role: &str) -> Option<usize> {
        self.cast
            .iter()
            .position(|character| character.role == role)
    }

    fn draw_cast(&mut self, rng: &mut KeyRng) {
        let names = [
            some(rng, words::NAMES_HE, 3),
            some(rng, words::NAMES_SHE, 3),
        ];
        let is_town = self.realm == Realm::Town;
        let kinds = distinct(rng, words::KINDS.len(), 3).into_iter();
        let kinds: Vec<Kind> = kinds.map(|at| words::KINDS[at]).collect();
        let trait_word = one(rng, words::TRAITS);
        for (at, role) in ["h", "f", "r"].into_iter().enumerate() {
            let is_he = chance(rng, 0.5);
            let name = names[usize::from(!is_he)][at];
            let kind = if is_town {
                if is_he { "boy" } else { "girl" }
            } else {
                kinds[at].name
            };
            let intro = if role == "h" {
                let size = one(rng, "little|little|young|small|");
                let called = one(rng, "named|called|named");
                format!("a {trait_word} {size} {kind} {called} {name}")
            } else if is_town {
                let relation = match (is_he, index(rng, 5)) {
                    (true, 0) => "little brother",
                    (false, 0) => "little sister",
                    (_, 1) => "cousin",
                    (_, 2) => "neighbor",
                    _ => "friend",
                };
                format!("<h.his> {relation} {name}")
            } else {
                format!(
                    "<h.his> {} {name} the {kind}",
                    one(rng, "friend|good friend|neighbor")
                )
            };
            self.cast.push(Character {
                role,
                pronoun: if is_he { Pronoun::He } else { Pronoun::She },
                name: name.to_owned(),
                intro,
                kind: kind.to_owned(),
                went: if is_town {
                    one(rng, "walked|ran|went|hurried|skipped")
                } else {
                    kinds[at].went
                },
                hands: if is_town { "hands" } else { kinds[at].hands },
            });
        }
        self.set("trait", trait_word);
        self.set(if is_town { "town" } else { "wild" }, "yes");
        self.set(
            "home",
            if is_town {
                one(rng, "house|house|apartment|cottage")
            } else {
                kinds[0].home
            },
        );
        self.draw_elder(rng, kinds[0]);
        self.draw_stranger(rng);
        let young = one(rng, words::YOUNG);
        self.cast.push(Character {
            role: "p",
            pronoun: Pronoun::It,
            name: format!("the {young}"),
            intro: format!("a {young}"),
            kind: young.to_owned(),
            went: "ran",
            hands: "feet",
        });
    }

    fn draw_elder(&mut self, rng: &mut KeyRng, kind: Kind) {
        let is_he = chance(rng, 0.5);
        let name = match (self.realm, is_he) {
            (Realm::Town, true) => {
                one(rng, "Dad|Dad|Grandpa|Grandpa|Uncle Joe|Uncle Frank|Papa").to_owned()
            }
            (Realm::Town, false) => {
                one(rng, "Mom|Mom|Grandma|Grandma|Aunt Rose|Aunt May|Mama").to_owned()
            }
            (Realm::Wild, _) => {
                let mut letters = kind.name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                let kind: String = first.into_iter().chain(letters).collect();
                let kind = kind.replace(" cub", "");
                let title = if is_he {
                    "Papa|Grandpa|Uncle|Father"
                } else {
                    "Mama|Grandma|Aunt|Mother"
                };
                format!("{} {kind}", one(rng, title))
            }
        };
        self.cast.push(Character {
            role: "e",
            pronoun: if is_he { Pronoun::He } else { Pronoun::She },
            intro: name.clone(),
            name,
            kind: "grown-up".to_owned(),
            went: "walked",
            hands: "hands",
        });
    }

    fn draw_stranger(&mut self, rng: &mut KeyRng) {
        let is_town = self.realm == Realm::Town;
        let list = if is_town {
            words::STRANGERS_TOWN
        } else {
            words::STRANGERS_WILD
        };
        // A stranger of the hero's own kind would blur who is meant.
        let row = loop {
            let row = one(rng, list);
            if !row.ends_with(&self.cast[0].kind) {
                break row;
            }
        };
        let (mark, kind) = row.split_once(';').unwrap_or(("h", row));
        // Later mentions drop what hangs behind the noun: "the old man with a cane" is "the old man".
        let short = [" with ", " in ", " on ", " selling "]
            .iter()
            .fold(kind, |kind, cut| {
                kind.split_once(cut).map_or(kind, |(head, _)| head)
            });
        self.cast.push(Character {
            role: "x",
            pronoun: if mark == "h" {
                Pronoun::He
            } else {
                Pronoun::She
            },
            name: format!("the {short}"),
            intro: format!("a {kind}"),
            kind: short.to_owned(),
            went: "came",
            hands: "hands",
        });
    }

    fn draw_place(&mut self, rng: &mut KeyRng) {
        let (places, nooks): (&[Place], _) = match self.realm {
            Realm::Town => (words::PLACES_TOWN, words::NOOKS_HOUSE),
            Realm::Wild => (words::PLACES_WILD, words::NOOKS_DEN),
        };
        let two = distinct(rng, places.len(), 2);
        let (here, there) = (places[two[0]], places[two[1]]);
        let spots = some(rng, here.spots, 3);
        let nooks = some(rng, nooks, 3);
        let senses = some(rng, here.senses, 2);
        for (key, value) in [
            ("place", here.the),
            ("at", here.at),
            ("place2", there.the),
            ("at2", there.at),
            ("spot1", spots[0]),
            ("spot2", spots[1]),
            ("spot3", spots[2]),
            ("nook1", nooks[0]),
            ("nook2", nooks[1]),
            ("nook3", nooks[2]),
            ("sense", senses[0]),
            ("sense2", senses[1]),
        ] {
            self.set(key, value);
        }
        self.set("to2", format!("to {}", there.the));
    }

    fn draw_things(&mut self, rng: &mut KeyRng) {
        for (keys, list) in [
            (["toy", "toy2"], words::TOYS),
            (["find", "find2"], words::TREASURES),
            (["wear", "wear2"], words::CLOTHES),
            (["creature", "creature2"], words::CREATURES),
            (["flower", "flower2"], words::FLOWERS),
            (["crop", "crop2"], words::CROPS),
            (["fruit", "fruit2"], words::FRUITS),
            (["dream", "dream2"], words::DREAMS),
            (["size", "size2"], words::SIZES),
            (["colour", "colour2"], words::COLOURS),
        ] {
            let two = some(rng, list, 2);
            self.set(keys[0], two[0]);
            self.set(keys[1], two[1]);
        }
        let foods = some(rng, words::FOODS, 2);
        for (keys, food) in [
            (["food", "foodb"], foods[0]),
            (["food2", "food2b"], foods[1]),
        ] {
            let (whole, bare) = food.split_once(';').unwrap_or((food, food));
            self.set(keys[0], whole);
            self.set(keys[1], bare);
        }
    }
}

/// A number below `count`.
pub(crate) fn index(rng: &mut KeyRng, count: usize) -> usize {
    ((rng.next_f32() * count as f32) as usize).min(count.saturating_sub(1))
}

/// True with probability `p`.
pub(crate) fn chance(rng: &mut KeyRng, p: f32) -> bool {
    rng.next_f32() < p
}

/// One of the `|`-separated items of `list`.
pub(crate) fn one<'a>(rng: &mut KeyRng, list: &'a str) -> &'a str {
    let at = index(rng, list.split('|').count());
    list.split('|').nth(at).unwrap_or_default().trim()
}

/// `count` different items of `list`, in random order.
pub(crate) fn some<'a>(rng: &mut KeyRng, list: &'a str, count: usize) -> Vec<&'a str> {
    let items: Vec<&str> = list.split('|').map(str::trim).collect();
    distinct(rng, items.len(), count)
        .into_iter()
        .map(|at| items[at])
        .collect()
}

/// `count` different numbers below `below`, in random order.
fn distinct(rng: &mut KeyRng, below: usize, count: usize) -> Vec<usize> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count.min(below) {
        let candidate = index(rng, below);
        if !taken.contains(&candidate) {
            taken.push(candidate);
        }
    }
    taken
}
