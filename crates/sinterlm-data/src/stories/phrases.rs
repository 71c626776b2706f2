//! Phrases that many plots share: openings, feelings, tags, small scenes, morals and endings.

/// Verbs of a speech tag, each with what follows the speaker.
pub(super) fn speech(form: &str) -> Option<&'static str> {
    Some(match form {
        "said" => {
            "said|said|said|said|said|said|said|said|said|said|said after a moment|said quietly"
        }
        "asked" => "asked|asked|asked|wondered|asked softly|asked at once|asked with wide eyes",
        "cried" => "cried|shouted|called|cried|yelled|exclaimed",
        "glad" => {
            "said with a smile|laughed|said happily|cheered|said proudly|giggled|said with shining eyes|sang out"
        }
        "sad" => {
            "said sadly|sighed|said in a small voice|sniffed|whispered|said with tears in HIS eyes|mumbled|said and looked at the ground"
        }
        "soft" => {
            "said softly|whispered|said kindly|said gently|said in a warm voice|murmured|said and winked"
        }
        "cross" => {
            "said crossly|grumbled|snapped|said and stamped HIS foot|growled|said with a frown"
        }
        _ => return None,
    })
}

/// The alternatives of the shared phrase `name`, separated by `|`.
pub(super) fn phrase(name: &str) -> Option<&'static str> {
    Some(match name {
        "open" => OPEN,
        "when" => WHEN,
        "sky" => SKY,
        "likes" => LIKES,
        "meet" => MEET,
        "again" => AGAIN,
        "glad" => "glad|happy|full of joy|pleased|delighted|very happy|cheerful again|all smiles",
        "sad" => {
            "sad|unhappy|very sad|gloomy|close to tears|miserable|down|heavy inside|disappointed"
        }
        "scared" => "scared|afraid|frightened|a little scared|very nervous|uneasy",
        "cross" => "cross|angry|grumpy|annoyed|very cross|mad|in a bad mood",
        "tired" => "tired|worn out|very tired|sleepy|out of breath|exhausted|ready for a rest",
        "nice" => "nice|lovely|kind|wonderful|fine|good|beautiful",
        "big" => "big|huge|very large|giant|enormous|great big",
        "little" => "little|small|tiny|very small|wee",
        "quickly" => {
            "quickly|at once|right away|fast|without waiting|in a hurry|as fast as <h.he> could"
        }
        "slowly" => "slowly|carefully|gently|step by step|bit by bit|with great care",
        "suddenly" => "suddenly|all at once|just then|at that moment|then|in the blink of an eye",
        "soon" => "soon|before long|after a while|a little later|some time later|by and by",
        "thought" => {
            "<h> thought {hard|for a long time|about it|and thought|for a minute}|<h> sat down to think|<h> scratched <h.his> head|<h> closed <h.his> eyes and thought|<h> took a deep breath"
        }
        "colour" => super::words::COLOURS,
        "creature" => super::words::CREATURES,
        "dream" => super::words::DREAMS,
        "gladsign" => GLAD_SIGN,
        "sadsign" => SAD_SIGN,
        "scaredsign" => SCARED_SIGN,
        "thanks" => {
            "Thank you so much|Thank you, thank you|Oh, thank you|You are so kind|Thank you for your help|I will never forget this|How can I ever thank you|That was very kind of you"
        }
        "comfort" => {
            "Don't worry|Don't be sad|It will be all right|Never mind|There, there|Everyone has bad days|We will find a way|Dry your eyes"
        }
        "yes" => "Yes|Of course|Sure|All right|I would love to|Yes, please|Why not",
        "wow" => "Wow|Look at that|Oh my|Hooray|How wonderful|Goodness|I can't believe it|Hurray",
        "ohno" => "Oh no|Oh dear|Help|What now|Not again|Oh, bother|No, no, no",
        "snack" => SNACK,
        "home" => HOME,
        "night" => NIGHT,
        "end" => END,
        _ => return None,
    })
}

const OPEN: &str = "
{Once upon a time|Once|Long ago|Not so long ago|Far away, behind {seven|three|nine} hills}, there {was|lived} <h.intro>. <?likes>
|Once there was <h.intro> who lived in {a <?little> <home>|a <home> with a <?colour> door|a cozy <home>} <if town:near <place2>><if wild:not far from <place2>>. <?likes>
|<if town:In a {small|quiet|busy|sunny} {town|village|street|city} lived <h.intro>.><if wild:In a <home> near <place2> lived <h.intro>.> <?likes>
|There was once <h.intro>. {Everyone {knew|said} that <h> was the most <trait> <h.kind> {for miles around|of all|they had ever met}.|<?likes>}
|<h.plain> was a <trait> <if town:little ><h.kind>. <?likes>
|<h.full> {loved|liked} {the <toy>, the smell of <flower>s and, most of all, <e>|to get up early|<creature2>s, good stories and long walks}. <?likes>
|This is the story of <h.full>{ and a very {long|strange|special|busy} day|, who was <trait>, and of what happened <at>|}. <?likes>
|{Do you know <h.full>?|Have you heard about <h.full>?} <h.He> was {very|really|always} <trait>. <?likes>";

const WHEN: &str = "
{one|on a|on one} {sunny|bright|windy|cool|warm|quiet|fine|misty|golden|fresh} {morning|day|afternoon}
|{early one|one} {Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday} {morning|afternoon}
|one day {in spring|in summer|in autumn|after breakfast|after lunch|before dinner}
|on the {first|last} day of {spring|summer|the holidays|the week}
|one {spring|summer|autumn} {morning|day|afternoon|evening}
|the day after {the big storm|the fair|<h.his> birthday}";

const SKY: &str = "
The sun was {warm|bright|high in the sky|just coming up|shining}.
|{White|Small|Fluffy} clouds {sailed|drifted|raced} across the {blue|wide} sky.
|{A soft|A light|A playful|A cool} {wind|breeze} {blew|moved the leaves|smelled of <flower>}.
|The birds were {singing|busy with their nests|quiet}, and {a <creature2> sat on a leaf|the air was fresh|the grass was still wet}.
|<sense>.|<sense>.|<sense>, and <h> {stopped to listen|smiled|took a deep breath}.|It was {neither too hot nor too cold|a day like a present|the kind of day when anything can happen}.";

const LIKES: &str = "
<h.He> {liked|loved} to {sing|draw|climb|dance|read|count things|tell jokes|watch the clouds|splash in puddles|build towers|look for bugs|whistle|collect <find2>s}.
|<h.He> could eat <food2> every day of the week, and <h.his> favorite color was {red|blue|yellow|green|purple|orange}.
|<h.He> always {wore|carried} a <colour2> <wear2>.
|<h.He> had a <size2> <toy2> that went {everywhere with <h.him>|wherever <h.he> went}.
|<h.He> lived with <e> {and {a ticking clock|an old piano|a very old goldfish|a kettle that sang}|, who told the best stories|, who could {bake|sew|sing|whistle} better than anyone}.
|{Each day|Every day|Each morning}, <h.he> {said hello to|counted|visited} {the birds|the <flower2>s|every <creature2> on the path}.
|<h.He> asked {a hundred|a lot of} questions, and {not all of them had answers|<e> answered every one}.
||";

const MEET: &str = "
|||
{On the way|On the path}, <h.he> saw a <creature> {lying on its back|in the middle of the road|caught in a puddle}. <h> {turned it over|carried it to a leaf|helped it along} {with one finger|very gently} and went on. <!met=<creature>>
|A <creature> {landed on <h.his> {nose|arm|head}|looked at <h.him> from a {stone|branch}}. \"{Hello|Good day}, little <creature>,\" <h.said>. <!met=<creature>>
|<h.He> stopped to smell a <flower>. A <creature> came out of it, {all yellow with pollen|cross and sleepy}, and <h> laughed. <!met=<creature>>
|{Near the path|On a stone}, a <creature> was {busy with a crumb|resting}. <h> {gave it a few crumbs|stepped around it with care}. <!met=<creature>>";

const AGAIN: &str = "
<if met:{On the way back|On the way home}, <h.he> saw the <met> again and {waved|said good night to it|told it everything}.>
|<if met:{And the <creature>?|What about the <creature>?} It {was sitting in the same place|flew around <h.his> head|had gone home too}.>|";

const GLAD_SIGN: &str = "
<h> {jumped up and down|danced in a circle|clapped <h.his> <h.hands>|laughed out loud|smiled from ear to ear|could not stop smiling|did a little dance|hugged {everyone|<e>|<f>}}.
|<h.His> {eyes shone|heart felt light|face was one big smile|cheeks were pink with joy}.|<h> felt warm all over.";

const SAD_SIGN: &str = "
<h> {began to cry|hung <h.his> head|sat down {on the ground|on a stone|in a corner}|did not say a word|wiped <h.his> eyes|wanted to hide}.
|A {big|fat|single} tear {rolled down <h.his> cheek|fell on <h.his> <h.hands>}.|<h.His> {lip shook|heart sank|eyes filled with tears|throat felt tight}.|<h> felt <?sad>.";

const SCARED_SIGN: &str = "
<h.His> {knees shook|heart went boom, boom, boom|<h.hands> were cold|mouth was dry|tummy felt funny}.
|<h> {wanted to run away|hid behind <e>|held <h.his> breath|shut <h.his> eyes tight|could not move}.|<h> felt <?scared>.";

const SNACK: &str = "
{Then|After that}, they {shared|ate} <food2> {in the shade|on a blanket|and drank cool water}.
|<e> gave them <food2>, and {not a crumb was left|it was still warm|they ate it with their fingers}.
|They were hungry now, so they {sat down and ate|split} <food2>.
|To celebrate, they had <food2>.";

const HOME: &str = "
{They|All of them} {sang|talked|laughed} {all the way home|until the sun went down|until dinner time}.
|When {the sun went down|the first star came out|it grew late}, <h> {walked|went} home {with a light heart|hand in hand with <e>|whistling a tune}.
|At dinner, <h> told <e> {the whole story|all about it}[, and <e> {listened to every word|laughed until <e.he> cried|was very proud}].
|<h> {ran home|hurried home} to tell <e>.
||";

const NIGHT: &str = "
That night, <h> {dreamed of|had a dream about} <dream>.
|That {night|evening}, <h> {fell asleep with a smile|was asleep before <h.his> head touched the pillow|slept very well|slept like a stone}[ and dreamed of <dream>].
|{Before <h.he> fell asleep|In bed}, <h> thought, \"{What a day|That was the best day|Tomorrow I will do it again|I am lucky}.\"
|The moon looked in at the window, and <h> was already {asleep|dreaming of <dream>}.";

const END: &str = "
<?home> <?again>|<?night>|<?again> <?night>|<?home> <?night>|<?gladsign> <?home>|<?snack> <?home>|<?snack> <?night>|<?again>|<?gladsign>|[The end.]
|{And that was that|It had been a {good|long|lovely} day|What a day it was}.";
