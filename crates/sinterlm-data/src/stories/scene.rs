//! A scene: a few sentences in the world of a story together with the facts that they tell, to ask
//! questions about.

use sinterlm_config::KeyRng;

use super::grammar::Teller;
use super::world::{Realm, World, chance};

/// The scene; each sentence tells one or two facts.
const TEMPLATE: &str = "{One day|One morning|After lunch|In spring}, <h.intro> {walked|went|ran} to <place>. \
<h.He> {found|saw} a <colour> <find> <spot1>. {Then|Later|Soon}, <f.intro> came and {gave|brought} <h.him> <food>.";

/// A short text with what it tells.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) text: String,
    /// The one it is about, by name.
    pub(crate) hero: String,
    /// The one who comes later, by name.
    pub(crate) friend: String,
    /// What the hero found, without an article.
    pub(crate) find: String,
    place: String,
    colour: String,
    food: String,
}

/// What can be asked about a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Hero,
    Friend,
    Place,
    Find,
    Colour,
    Food,
}

impl Scene {
    /// Draws a scene.
    pub(crate) fn draw(rng: &mut KeyRng) -> Self {
        let realm = if chance(rng, 0.5) {
            Realm::Town
        } else {
            Realm::Wild
        };
        let world = World::draw(rng, realm);
        let name = |role| {
            let at = world.role(role).unwrap_or_default();
            world.cast[at].name.clone()
        };
        let slot = |key| world.slot(key).unwrap_or_default().to_owned();
        Self {
            hero: name("h"),
            friend: name("f"),
            place: slot("place"),
            find: slot("find"),
            colour: slot("colour"),
            food: slot("food"),
            text: Teller::new(rng, world.clone()).tell(TEMPLATE),
        }
    }

    /// The answer to a question about `fact`, as it stands in the text.
    pub(crate) fn answer(&self, fact: Fact) -> &str {
        match fact {
            Fact::Hero => &self.hero,
            Fact::Friend => &self.friend,
            Fact::Place => &self.place,
            Fact::Find => &self.find,
            Fact::Colour => &self.colour,
            Fact::Food => &self.food,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_says_what_it_is_asked_about() {
        let facts = [
            Fact::Hero,
            Fact::Friend,
            Fact::Place,
            Fact::Find,
            Fact::Colour,
            Fact::Food,
        ];
        for key in 0..2000 {
            let scene = Scene::draw(&mut KeyRng::new(key));
            for fact in facts {
                let answer = scene.answer(fact);
                assert!(!answer.is_empty(), "{fact:?} of `{}`", scene.text);
                assert!(scene.text.contains(answer), "{answer}: {}", scene.text);
            }
            assert_ne!(scene.hero, scene.friend);
            assert!(!scene.text.contains(['<', '>', '{', '|']), "{}", scene.text);
        }
    }
}
