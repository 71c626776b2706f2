//! The built-in corpus: short English stories for small children, made from a seed without any file.
//! The words are in `words`, who and where in `world`, the template language in `grammar`, what
//! happens in `plots`.

mod grammar;
mod phrases;
mod plots;
mod scene;
pub(crate) mod words;
pub(crate) mod world;

use grammar::Teller;
pub(crate) use scene::{Fact, Scene};
use sinterlm_config::{KeyRng, Seed, Stream};
use world::{Realm, World, chance, index};

/// Fewest and most words a story should have.
const WORDS: std::ops::RangeInclusive<usize> = 80..=250;

/// Tellings of one index before a length outside the bounds is accepted.
const TELLINGS: usize = 32;

/// Source of short stories in simple English, each a pure function of the seed and its index.
///
/// Made in the spirit of TinyStories (Eldan and Li 2023, <https://arxiv.org/abs/2305.07759>), with
/// words and plots of its own: a context-sensitive grammar over a small world of characters,
/// places and things, so that pronouns, causes and solutions agree throughout a story. A story has
/// 80 to 250 words, plain ASCII, paragraphs separated by an empty line, no line break at its end.
/// The stories belong to this version of the crate: a later one may tell others.
///
/// ```
/// use sinterlm_data::StoryGenerator;
/// let stories = StoryGenerator::new(7);
/// assert_eq!(stories.story(3), StoryGenerator::new(7).story(3));
/// assert_ne!(stories.story(3), stories.story(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoryGenerator {
    seed: u64,
}

impl StoryGenerator {
    /// Generator of the stories of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Story number `index`.
    pub fn story(&self, index: u64) -> String {
        let mut rng = KeyRng::new(Seed(self.seed).key(Stream::Stories, index, 0, 0));
        let mut story = tell(&mut rng);
        for _ in 1..TELLINGS {
            if WORDS.contains(&story.split_whitespace().count()) {
                break;
            }
            story = tell(&mut rng);
        }
        story
    }
}

fn tell(rng: &mut KeyRng) -> String {
    let realm = if chance(rng, 0.55) {
        Realm::Town
    } else {
        Realm::Wild
    };
    let template = plots::PLOTS[index(rng, plots::PLOTS.len())];
    let world = World::draw(rng, realm);
    Teller::new(rng, world).tell(template)
}
