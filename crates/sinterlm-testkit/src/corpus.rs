//! A dozen very short stories, for tests that need text.

/// Twelve stories for small children, written for these tests: some have several paragraphs,
/// dialogue, numbers, or characters of two and more UTF-8 bytes.
pub fn tiny_stories() -> Vec<&'static str> {
    vec![
        "Mia had a red kite. She ran up the hill and the wind took it high. The string slipped out of \
         her hand. \"Come back!\" she called. Her dad pointed at the big oak. The kite was sitting on \
         a branch like a bird. Dad lifted Mia up, and she took it home.",
        "A small frog named Pip lived by the pond. Every night he sang the same song.\n\nOne night his \
         voice was gone. The other frogs were quiet too, because they had come to listen. So the old \
         duck sang the song for Pip, a little wrong, and everybody laughed.",
        "Tom and Lena built a tower of 10 blocks. It fell. They built a tower of 12 blocks. It fell. \
         Then Lena put the big blocks at the bottom, and the tower stayed.",
        "The bakery was closed on Monday. Zoë looked through the window and saw one bun on the shelf. \
         \"Is that bun lonely?\" she asked. The baker smiled, opened the door and gave it to her. \
         Zoë broke it in two, so that nobody had to be lonely.",
        "It rained all day. Ben put on his boots and jumped into every puddle in the street. At the \
         last one he stopped. A snail was swimming in it! Ben picked it up and set it on a leaf. Then \
         he went home to dry his socks.",
        "Grandma knitted a scarf. It grew longer and longer. In spring it reached from the chair to \
         the door. \"Who has a neck like that?\" asked Sam. \"All of you together,\" said Grandma, and \
         she wrapped it around five children at once.",
        "The moon looked into Ida's room. Ida could not sleep. She counted the stars: one, two, three, \
         and then a cloud came. She counted the cloud, too. When she got to four, she was asleep.",
        "Rex the dog hid his bone so well that he could not find it. He dug near the fence. He dug \
         near the roses. Mother was not happy about the roses. In the evening Rex lay down on his \
         blanket. Something hard was under it. Rex wagged his tail and said nothing.",
        "At the café by the sea a gull stole a slice of cake. The waiter ran after it with his tray. \
         The gull could not fly well with so much cake. It dropped the slice on the tray, right where \
         it belonged. \"Thank you,\" said the waiter, and gave it a crumb.",
        "Nora was afraid of the dark cellar. Her brother Ali was afraid of spiders. So they went down \
         together: he held the lamp, and she looked after the spiders. They came back with a jar of \
         plums.",
        "Two snails had a race to the lettuce. It took all morning. When they arrived, the rabbit had \
         eaten the lettuce. \"Who won?\" asked the rabbit. \"You did,\" said the snails, and they \
         started a race to the carrots.",
        "Kim lost a tooth. She put it under her pillow and wrote a note: \"Dear fairy, please leave \
         the tooth, I want to show it at school.\" In the morning the tooth was still there, and \
         beside it lay a coin, and a note: \"Good idea.\"",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_trimmed_and_distinct() {
        let mut stories = tiny_stories();
        assert!(
            stories
                .iter()
                .all(|story| *story == story.trim() && story.len() > 100)
        );
        let count = stories.len();
        stories.sort_unstable();
        stories.dedup();
        assert_eq!(stories.len(), count);
    }
}
