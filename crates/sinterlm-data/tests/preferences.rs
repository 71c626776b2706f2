//! The built-in pairs of answers: one a question, the right answer chosen.

use sinterlm_data::{Body, InstructionTasks, PreferenceTasks, TaskSplit};

#[test]
fn each_question_has_its_right_answer_and_another() {
    let (count, seed) = (3_000, 5);
    for split in [
        TaskSplit::Train,
        TaskSplit::Valid,
        TaskSplit::Test,
        TaskSplit::HeldOut,
    ] {
        let questions = InstructionTasks { count, seed }.records(split);
        let pairs = PreferenceTasks { count, seed }.records(split);
        assert_eq!(pairs.len(), questions.len(), "{split:?}");
        for (pair, question) in pairs.iter().zip(&questions) {
            let Body::Preference {
                prompt,
                chosen,
                rejected,
            } = &pair.body
            else {
                panic!("{} has one answer", pair.origin)
            };
            let texts = question.texts();
            assert_eq!(pair.task, question.task);
            assert_eq!(chosen, texts[2]);
            assert_ne!(chosen, rejected);
            assert!(!rejected.is_empty());
            assert!(prompt[0].content.starts_with(texts[0]), "{}", pair.origin);
            assert!(prompt[0].content.ends_with(texts[1]), "{}", pair.origin);
        }
    }
}
