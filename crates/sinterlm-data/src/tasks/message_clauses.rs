//! Clauses of the short messages, with a name in braces where a word is drawn.

/// Words by the names that clauses give them; separated by `|`.
pub(super) const SLOTS: &[(&str, &str)] = &[
    (
        "day",
        "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|tomorrow|tonight|next week",
    ),
    (
        "place",
        "the library|the station|the cafe|school|the gym|the market|the office|the pool|home|the park|the bus stop|the bakery",
    ),
    (
        "food",
        "pizza|soup|rice|noodles|pancakes|curry|salad|cake|bread|sandwiches|pasta|dumplings",
    ),
    (
        "thing",
        "keys|umbrella|charger|notes|jacket|bag|bike|book|glasses|wallet|scarf|camera",
    ),
    (
        "person",
        "mom|dad|my sister|my brother|grandma|my boss|the teacher|my cousin|the neighbor|my aunt|uncle Joe|the coach",
    ),
    (
        "deed",
        "study|cook|clean the kitchen|watch a movie|go for a run|practice piano|fix the bike|walk the dog|paint the fence|finish the report|water the plants|bake",
    ),
    (
        "feeling",
        "tired|happy|sick|hungry|bored|excited|late|busy|sleepy|nervous|fine|lost",
    ),
    (
        "prize",
        "a new phone|a holiday|a gift card|concert tickets|a tablet|a weekend trip|a games console|a watch|a shopping voucher|a car|a laptop|a cruise",
    ),
    (
        "shop",
        "MegaMart|PhoneHut|SunTravel|QuickLoans|GoldClub|TopTunes|DealBox|StarBank|FitNow|CityCasino|RingZone|HappyCredit",
    ),
    (
        "offer",
        "ringtones|games|loans|flights|insurance|minutes|horoscopes|pills|wallpapers|credit|movies|data",
    ),
    (
        "account",
        "account|card|parcel|subscription|prepaid balance|mailbox|membership|profile|tax refund|invoice|booking|delivery",
    ),
    (
        "soon",
        "today|now|tonight|within {few} hours|before midnight|this week|at once|soon",
    ),
];

/// How friends begin.
pub(super) const HAM_STARTS: &[&str] = &[
    "Hey {name},",
    "Hi!",
    "Sorry,",
    "Ok",
    "Haha",
    "Good morning {name}.",
    "Yo",
    "Hello dear,",
    "Oh no,",
    "Well,",
    "By the way,",
    "Thanks!",
];

/// How friends end.
pub(super) const HAM_ENDS: &[&str] = &[
    "See you {day}.",
    "Love you.",
    "Call me when you can.",
    "Let me know.",
    "Say hi to {name}.",
    "Talk later.",
    "Is that ok?",
    "Reply soon please.",
    "I am so {feeling}.",
    "Take care.",
    "Ask {name}.",
    "Just text me.",
    "Call {phone} {day}.",
    "Do not miss it.",
];

/// What friends write; a fifth of it has the words of spam.
pub(super) const HAM: &[&str] = &[
    "are you coming to {place} at {hour}?",
    "I will be at {place} {day}, {name} comes too.",
    "can you bring my {thing} to {place}?",
    "I left my {thing} at {place} again.",
    "{person} wants to {deed} {day}.",
    "do you want {food} or {food} for dinner?",
    "we are out of {food}, can you stop at {place}?",
    "I am too {feeling} to {deed} {day}.",
    "{name} said that {person} is {feeling}.",
    "the bus is late, I will be there at {hour}.",
    "did you {deed} already? {person} asked.",
    "let us {deed} first and then get {food}.",
    "happy birthday {name}! Are we having {food}?",
    "my phone died at {place}, what did {name} say?",
    "meet me at {place} {day} around {hour}.",
    "{person} made {food}, come over before it is cold.",
    "I have to {deed} until {hour}, then I am free.",
    "what did you think of the {thing} {name} got?",
    "no class {day}, shall we {deed}?",
    "can we move it to {hour}? {person} is {feeling}.",
    "just got to {place}, where is {name}?",
    "{name} lost the {thing} that {person} bought.",
    "guess what, {name} won {prize} in the raffle at {place}!",
    "I got a free {food} at {place} today.",
    "{person} claims we owe {sum} for the {thing}.",
    "call the bank about your card, {person} says it is blocked.",
    "the door code of {place} is {code}.",
    "my new number is {phone}, tell {name}.",
    "{name} has two free tickets for {day}, want to go?",
    "did {shop} reply about your {account}?",
    "I bought {prize} at {shop}, cheap offer, {name} will be jealous.",
    "please send {sum} for {person}'s gift before {day}.",
];

/// What both classes write, in these very words.
pub(super) const SHARED: &[&str] = &[
    "call me at {phone} {day} about the {thing}, {name}.",
    "hi, it is {name}, I lost my {thing} and your number, text me back {day}.",
    "your {account} is ready at {place}, come before {hour} and ask for {name}.",
    "are you free {day}? {name} and {person} want to talk to you.",
    "{name} sent you a picture of the {thing}, have a look {day}.",
    "do not forget to pay for the {account} {day}, says {name}.",
    "{name} has a question about your {thing}, answer {day}.",
    "you can pick up the {thing} at {place} {day} for {sum}.",
    "{person} tried to call you from {place}, call back at {hour}.",
    "your ticket for {day} is at {place}, the code is {code}, {name}.",
];

/// How spam begins.
pub(super) const SPAM_STARTS: &[&str] = &[
    "Congratulations!",
    "URGENT!",
    "Dear customer,",
    "Hi {name},",
    "Final notice:",
    "Free msg:",
    "Hello dear,",
    "{shop}:",
    "Good news {name}!",
    "Hey,",
    "Winner!",
    "Attention please,",
];

/// How spam ends.
pub(super) const SPAM_ENDS: &[&str] = &[
    "Reply STOP to end.",
    "Call {phone} {soon}.",
    "Text WIN to {code}.",
    "Terms apply.",
    "Only {sum} a week.",
    "Reply soon please.",
    "Do not miss it.",
    "Is that ok?",
    "Just text me.",
    "Over 18 only.",
    "Let me know.",
    "Offer ends {day}.",
];

/// What spam says; a third of it sounds like a friend or has no number.
pub(super) const SPAM: &[&str] = &[
    "you have won {prize}, claim it {soon}.",
    "your number was chosen to get {prize} from {shop}.",
    "get {few} months of {offer} free with {shop}.",
    "your {account} at {shop} is blocked, confirm your details {soon}.",
    "cheap {offer} for you at {shop}, only {soon}.",
    "claim {sum} in cash, text CASH to {code} {soon}.",
    "we tried to deliver {prize}, pay {sum} to get it {soon}.",
    "last chance to win {prize}: text {offer} to {code}.",
    "need money? {shop} lends up to {sum} {soon}, no questions.",
    "half price {offer} until {day} at {shop}.",
    "you owe {sum} on your {account}, pay {soon} to avoid fees.",
    "vote for {name} {soon} and win {prize}.",
    "someone who knows {name} likes you, find out who {soon}.",
    "I saw your picture and want to meet you {day}, {name}.",
    "lonely {day}? {name} wants to talk to you.",
    "earn {sum} a week from home, ask {name} how {soon}.",
    "your friend {name} sent you {offer}, open it {soon}.",
    "hi, is this {name}? I got a new phone and need {sum} for the {account} {soon}.",
    "mom, I lost my phone, please send {sum} {soon} to {name}.",
    "can you help me with the {account}? I am at {place} and can not call, {name}.",
    "the package for {name} is at {place}, pay the fee {soon}.",
    "your boss {name} needs gift cards from {shop} {soon}, reply when done.",
];
