//! Word lists of the stories, alternatives separated by `|`; who gets which word is for `world`.

/// Names of characters called *he*.
pub(crate) const NAMES_HE: &str = "Tom|Ben|Max|Sam|Leo|Jack|Tim|Finn|Noah|Oscar|Hugo|Felix|Milo|Theo\
|Jonah|Eli|Owen|Luca|Amir|Kofi|Ravi|Diego|Mateo|Kenji|Omar|Yusuf|Arlo|Jasper|Gus|Otto|Ned|Walt\
|Peter|Simon|Henry|George|Freddy|Charlie|Toby|Louis|Marco|Pablo|Ivan|Anton|Emil|Nils|Bruno|Rex\
|Barnaby|Rory|Angus|Ezra|Jamal|Dev|Hiro|Rafi|Sunil|Kai|Zeke|Billy|Danny|Archie|Monty|Percy|Rufus\
|Clem|Wilbur|Pip|Biscuit|Bramble";

/// Names of characters called *she*.
pub(crate) const NAMES_SHE: &str = "Lily|Mia|Anna|Sue|Ella|Lucy|Molly|Rosie|Daisy|Ruby|Zoe|Nora|Ivy\
|Clara|Emma|Sara|Jane|Kate|Amy|Bella|Hana|Yuki|Priya|Leila|Fatima|Amara|Zara|Nina|Elsa|Freya|Greta\
|Heidi|Ingrid|Olga|Tara|Maya|Lola|Carmen|Luz|Paloma|Sofia|Stella|Violet|Poppy|Hazel|Olive|Willow\
|Fern|Juniper|Maisie|Tilly|Dolly|Penny|Polly|Betsy|Winnie|Agnes|Edith|Mabel|Pearl|Flora|June|Ada\
|Aisha|Noor|Mei|Lulu|Dot|Pepper|Clover";

/// Traits a hero is introduced with.
pub(super) const TRAITS: &str = "brave|kind|clever|curious|gentle|cheerful|patient|shy|busy|quiet|funny\
|careful|playful|friendly|thoughtful|dreamy|stubborn|lively|helpful|polite|sleepy|noisy|proud|hopeful\
|messy|bright|merry|honest|eager|restless";

/// Colours and patterns.
pub(super) const COLOURS: &str = "red|blue|yellow|green|orange|purple|pink|brown|white|black|golden\
|silver|striped|spotted|bright red|dark blue|pale green|rainbow-colored|gray|shiny";

/// Words that go before a thing.
pub(super) const SIZES: &str =
    "little|big|tiny|old|new|small|round|soft|lovely|funny|wooden|favorite";

/// Things to play with that a child can carry.
pub(super) const TOYS: &str = "kite|ball|drum|teddy bear|doll|toy boat|toy train|puppet|spinning top|yo-yo\
|whistle|toy truck|balloon|jump rope|wagon|puzzle|paper plane|toy robot|marble|hoop|music box|trumpet\
|toy rocket|rag doll|flute|bouncy ball|toy horse|picture book|pinwheel|bell|magnet|toy dinosaur\
|tambourine|toy car|crayon box|stuffed rabbit|toy crown|paintbrush|scooter|storybook";

/// Small things found on the ground.
pub(super) const TREASURES: &str = "shell|coin|key|button|feather|pebble|pine cone|acorn|ribbon|glass bead\
|ring|leaf|nut|stamp|locket|thimble|map|bottle|arrowhead|star-shaped stone|horseshoe|teaspoon|fossil\
|pearl|chestnut|crystal|hairpin|medal|tiny bell|glass pebble|pocket watch|lucky charm|pencil";

/// Things to wear.
pub(super) const CLOTHES: &str = "hat|scarf|coat|sweater|cap|raincoat|cape|apron|jacket|straw hat|woolly hat\
|shawl|vest|cloak|poncho|cardigan|robe|shirt|overcoat|knitted scarf|sun hat|blanket coat";

/// Small wild creatures, called *it*.
pub(super) const CREATURES: &str = "snail|ladybug|butterfly|bee|caterpillar|beetle|ant|worm|dragonfly\
|cricket|spider|grasshopper|moth|lizard|sparrow|robin|firefly|toad|wren|crab|minnow|salamander|finch\
|bumblebee|tadpole|chipmunk|swallow|woodpecker|magpie";

/// Young or small animals that can be in trouble, called *it*.
pub(super) const YOUNG: &str = "kitten|puppy|duckling|lamb|chick|baby bird|bunny|piglet|calf|foal|gosling\
|baby squirrel|baby goat|little turtle|baby owl|fawn|baby otter|cygnet|baby hedgehog|tiny mouse\
|baby fox|little pony|baby seal|baby bat";

/// Flowers.
pub(super) const FLOWERS: &str = "daisy|rose|tulip|sunflower|poppy|violet|lily|bluebell|daffodil|buttercup\
|marigold|dandelion|lavender|snowdrop|iris|primrose|forget-me-not|pansy";

/// Things that grow in a garden, in the plural.
pub(super) const CROPS: &str = "carrots|beans|peas|pumpkins|tomatoes|strawberries|radishes|potatoes|onions\
|melons|cucumbers|turnips|sunflowers|lettuces|peppers|beets|tulips|raspberries|squashes|cabbages";

/// Fruit, in the singular.
pub(super) const FRUITS: &str = "apple|pear|plum|peach|orange|fig|cherry|banana|lemon|mango|apricot|grape\
|blackberry|blueberry|strawberry|coconut";

/// Food with its article, and without it after a semicolon.
pub(super) const FOODS: &str = "a slice of apple pie;apple pie|some warm bread;bread|a bowl of soup;soup\
|some crackers;crackers|a piece of cheese;cheese|a honey cake;cake|some jam tarts;tarts\
|a blueberry muffin;muffin|some nuts;nuts|a bag of berries;berries|a boiled egg;egg|some pancakes;pancakes\
|a cheese sandwich;sandwich|some ginger cookies;cookies|a bunch of grapes;grapes|a warm bun;bun\
|some popcorn;popcorn|a jar of honey;honey|some sweet corn;corn|a plum pudding;pudding\
|some oat biscuits;biscuits|a carrot cake;cake|a cup of milk;milk|some noodles;noodles|a baked potato;potato\
|a bowl of porridge;porridge|some dumplings;dumplings|a slice of melon;melon|some waffles;waffles\
|a pot of stew;stew|some raisins;raisins|a lemon roll;roll|a bowl of rice;rice|some dried apples;apples";

/// Things for a wish or a dream.
pub(super) const DREAMS: &str = "flying over the hills|a ship with silver sails|a castle made of cake\
|dancing stars|a river of honey|riding a whale|a garden that sang|talking clouds|the moon in a boat\
|a very small dragon|a parade of ducks|jumping from cloud to cloud|a tree full of lanterns\
|sailing across the sea|sleepy bears|a house on wheels|paper birds|a friendly giant|warm pancakes\
|a hundred kites|swimming with dolphins|a snowy mountain|purple elephants|tomorrow";

/// One kind of animal that can be a hero: what it is, where it lives, how it moves, what it holds with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The animal, in the singular.
    pub(super) name: &'static str,
    /// Its home, without an article.
    pub(super) home: &'static str,
    /// How it went somewhere.
    pub(super) went: &'static str,
    /// What it holds things with, in the plural.
    pub(super) hands: &'static str,
}

const fn kind(
    name: &'static str,
    home: &'static str,
    went: &'static str,
    hands: &'static str,
) -> Kind {
    Kind {
        name,
        home,
        went,
        hands,
    }
}

/// Animals that can be heroes and their friends.
pub(super) const KINDS: &[Kind] = &[
    kind("rabbit", "burrow", "hopped", "paws"),
    kind("bear", "cave", "plodded", "paws"),
    kind("fox", "den", "trotted", "paws"),
    kind("mouse", "hole", "scurried", "paws"),
    kind("squirrel", "tree house", "scampered", "paws"),
    kind("hedgehog", "nest of leaves", "shuffled", "paws"),
    kind("cat", "cottage", "padded", "paws"),
    kind("dog", "kennel", "bounded", "paws"),
    kind("pig", "barn", "trotted", "feet"),
    kind("frog", "mossy hut", "hopped", "hands"),
    kind("badger", "burrow", "marched", "paws"),
    kind("mole", "tunnel", "crept", "paws"),
    kind("otter", "river house", "slipped", "paws"),
    kind("raccoon", "hollow tree", "tiptoed", "hands"),
    kind("beaver", "lodge", "waddled", "paws"),
    kind("lamb", "barn", "skipped", "feet"),
    kind("goat", "stable", "jumped", "feet"),
    kind("deer", "clearing", "ran", "feet"),
    kind("monkey", "tree house", "swung", "hands"),
    kind("elephant", "house", "stomped", "feet"),
    kind("duck", "nest", "waddled", "wings"),
    kind("hen", "coop", "strutted", "wings"),
    kind("penguin", "snow house", "waddled", "wings"),
    kind("turtle", "house", "walked slowly", "feet"),
    kind("koala", "tree house", "climbed", "paws"),
    kind("panda", "bamboo hut", "rolled", "paws"),
    kind("lion cub", "den", "padded", "paws"),
    kind("hamster", "hole", "scuttled", "paws"),
    kind("owl", "hollow tree", "fluttered", "wings"),
    kind("kangaroo", "house", "bounced", "paws"),
    kind("skunk", "den", "wandered", "paws"),
    kind("zebra", "stable", "galloped", "feet"),
];

/// A place out of doors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// With its article, as in *the park*.
    pub(super) the: &'static str,
    /// With its preposition, as in *in the park*.
    pub(super) at: &'static str,
    /// Four spots, separated by `|`, each with a preposition.
    pub(super) spots: &'static str,
    /// What it smells, sounds or looks like: sentences separated by `|`.
    pub(super) senses: &'static str,
}

const fn place(
    the: &'static str,
    at: &'static str,
    spots: &'static str,
    senses: &'static str,
) -> Place {
    Place {
        the,
        at,
        spots,
        senses,
    }
}

/// Places for children.
pub(super) const PLACES_TOWN: &[Place] = &[
    place(
        "the park",
        "in the park",
        "under the bench|behind the slide|near the fountain|next to the swings",
        "The swings creaked in the wind|The grass had just been cut and smelled sweet|Dogs barked and children laughed",
    ),
    place(
        "the beach",
        "at the beach",
        "behind the sand castle|under the towel|near the rock pool|beside the old boat",
        "The waves went swish, swish|The air smelled of salt|Gulls called over the water",
    ),
    place(
        "the garden",
        "in the garden",
        "under the rose bush|behind the shed|near the pond|between the flower pots",
        "Bees hummed over the flowers|The roses smelled lovely|Water dripped from the green leaves",
    ),
    place(
        "the playground",
        "at the playground",
        "under the seesaw|behind the climbing frame|in the sandbox|beside the gate",
        "Everyone was running and shouting|The metal slide shone in the light|Shoes tapped on the hard ground",
    ),
    place(
        "the farm",
        "on the farm",
        "behind the tractor|in the hay|near the chicken coop|under the cart",
        "The barn smelled of hay|A rooster crowed from the fence|The cows chewed and looked up",
    ),
    place(
        "the market",
        "at the market",
        "under the fruit stand|behind the baskets|near the fish shop|beside the flower cart",
        "The air was full of the smell of fresh bread|People called out their prices|Baskets of fruit stood in long rows",
    ),
    place(
        "the lake",
        "by the lake",
        "under the dock|behind the reeds|near the little boat|between the big stones",
        "The water was as smooth as glass|Frogs sang in the reeds|Small waves licked the shore",
    ),
    place(
        "the forest",
        "in the forest",
        "under the ferns|behind the old oak|near the stream|inside a hollow log",
        "Light fell through the leaves in spots|The ground was soft with moss|It smelled of pine",
    ),
    place(
        "the hill",
        "on the hill",
        "behind the stone wall|under the apple tree|near the top|beside the path",
        "You could see the whole town from there|The wind blew the grass flat|The air was fresh and clean",
    ),
    place(
        "the schoolyard",
        "in the schoolyard",
        "under the steps|behind the big tree|near the fence|beside the bike rack",
        "A bell rang far away|Chalk pictures covered the ground|The flag flapped on its pole",
    ),
    place(
        "the street",
        "on the street",
        "under the blue car|behind the mailbox|near the bakery door|beside the lamp post",
        "A bus rumbled past|Someone was playing a piano in a house|The windows shone like gold",
    ),
    place(
        "the zoo",
        "at the zoo",
        "near the monkey house|behind the ice cream cart|under the map|beside the duck pond",
        "A lion roared and everyone jumped|The elephants splashed each other|It smelled of straw and popcorn",
    ),
    place(
        "the yard",
        "in the yard",
        "under the porch|behind the woodpile|near the doghouse|beside the clothesline",
        "Clean sheets moved in the breeze|A neighbor was cutting wood|The grass tickled bare feet",
    ),
    place(
        "the train station",
        "at the train station",
        "under the clock|behind the suitcases|near the ticket window|beside the tracks",
        "A train whistled in the distance|People hurried by with heavy bags|Pigeons walked up and down",
    ),
];

/// Places for animals.
pub(super) const PLACES_WILD: &[Place] = &[
    place(
        "the meadow",
        "in the meadow",
        "under the clover|behind the tall grass|near the molehill|beside the fence",
        "The whole field hummed with bees|Tall flowers nodded in the wind|The grass was wet with dew",
    ),
    place(
        "the woods",
        "in the woods",
        "under the ferns|behind the fallen tree|near the mushrooms|inside a hollow log",
        "The leaves whispered high above|It smelled of moss and rain|Light fell in thin gold lines between the trees",
    ),
    place(
        "the river",
        "by the river",
        "under the willow|behind the big rock|near the stepping stones|between the reeds",
        "The water sang over the stones|A fish jumped, plop|The mud was cool and soft",
    ),
    place(
        "the pond",
        "by the pond",
        "under the lily pads|behind the cattails|near the muddy bank|beside the old log",
        "Rings spread over the still water|The frogs were singing a slow song|Dragonflies flashed blue and green",
    ),
    place(
        "the hill",
        "on the hill",
        "behind the gray stone|under the thorn bush|near the top|beside the winding path",
        "The wind smelled of far places|You could see all the way to the sea|Clouds ran over the grass like sheep",
    ),
    place(
        "the orchard",
        "in the orchard",
        "under the pear tree|behind the ladder|near the old basket|beside the beehive",
        "Ripe fruit lay in the grass|Everything smelled sweet|Wasps buzzed lazily around the fallen plums",
    ),
    place(
        "the marsh",
        "in the marsh",
        "under the bent willow|behind the tall reeds|near the wooden bridge|beside the bog",
        "The ground squelched at every step|Mist hung over the pools|A heron stood on one leg",
    ),
    place(
        "the valley",
        "in the valley",
        "under the waterfall|behind the berry bushes|near the crossroads|beside the stone bridge",
        "An echo answered every sound|The berries were fat and dark|A cool wind came down from the mountains",
    ),
    place(
        "the shore",
        "on the shore",
        "under the driftwood|behind the dune|near the tide pool|beside the old net",
        "The waves rolled in and rolled out|The sand was warm|The air tasted of salt",
    ),
    place(
        "the old barn",
        "near the old barn",
        "under the cart|behind the milk cans|in the hay|beside the water trough",
        "Dust danced in the light|The doors creaked in the wind|It smelled of straw",
    ),
    place(
        "the pine forest",
        "in the pine forest",
        "under a heap of needles|behind the thickest trunk|near the spring|beside the ant hill",
        "Cones dropped with a soft thud|The shade was deep and cool|Needles crunched below",
    ),
    place(
        "the thicket",
        "in the thicket",
        "under the brambles|behind the holly bush|near the rabbit path|beside the stump",
        "Twigs snapped in the shadows|Wrens chattered in the thorns|The blackberries were almost ripe",
    ),
];

/// Spots in a child's home.
pub(super) const NOOKS_HOUSE: &str = "under the bed|behind the sofa|in the toy box|on the top shelf\
|under the kitchen table|in the closet|behind the curtain|in the laundry basket|under the rug\
|beside the stove|in the hall|on the windowsill|inside a boot|in the bathtub|behind the piano";

/// Spots in an animal's home.
pub(super) const NOOKS_DEN: &str = "under the straw bed|behind the stove|in the acorn jar|on the shelf\
|under the little table|in the pantry|behind the door|in the woodbox|under the moss rug|in the basket\
|beside the chair|inside a teapot|under a heap of leaves|behind the broom|in the back room";

/// People a child may meet, with pronoun mark before the semicolon.
pub(super) const STRANGERS_TOWN: &str = "h;old man with a cane|s;tall woman with a basket|h;friendly baker\
|s;girl in a yellow coat|h;boy with a red cap|s;old lady in a green hat|h;farmer with muddy boots\
|s;young painter|h;mail carrier|s;bus driver with a big laugh|h;fisherman with a gray beard\
|s;kind librarian|h;street musician|s;gardener with a straw hat|h;sailor with a parrot\
|s;woman selling flowers|h;clockmaker with round glasses|s;nurse on her way home|h;juggler in a purple coat\
|s;carpenter with a pencil behind her ear";

/// Animals an animal may meet, with pronoun mark before the semicolon.
pub(super) const STRANGERS_WILD: &str = "h;old turtle|s;wise owl|h;tall heron|s;tiny wren|h;slow toad\
|s;gray goose|h;grumpy badger|s;silver fox|h;thin crow|s;red hen|h;lonely wolf|s;white swan\
|h;very old bear|s;busy beaver|h;blind mole|s;quick swallow|h;shaggy goat|s;spotted deer\
|h;traveling rat|s;gentle cow|h;rooster with a loud voice|s;donkey with long ears|h;sleepy bat\
|s;snow-white cat";
