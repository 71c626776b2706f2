//! What holds for every key: permutations keep each element, streams can be entered anywhere.

use proptest::prelude::*;
use rand::Rng;
use sinterlm_config::{KeyRng, Permutation};

#[test]
fn permutations_keep_each_element_once() {
    for len in 1..=5000 {
        let order = Permutation::new(len * 31 + 7, len);
        let mut seen = vec![false; len as usize];
        for i in 0..len {
            let image = order.index(i) as usize;
            assert!(
                !seen[image],
                "{image} comes twice in a permutation of {len}"
            );
            seen[image] = true;
        }
    }
}

#[test]
fn permutations_of_different_keys_differ() {
    let images = |key| {
        (0..50)
            .map(|i| Permutation::new(key, 50).index(i))
            .collect::<Vec<_>>()
    };
    assert_ne!(images(1), images(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_permutation_is_a_bijection_for_any_key(key: u64, len in 1..600_u64) {
        let order = Permutation::new(key, len);
        let mut images: Vec<u64> = (0..len).map(|i| order.index(i)).collect();
        images.sort_unstable();
        prop_assert_eq!(images, (0..len).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_entered_at_a_position_goes_on_as_the_whole_one(key: u64, skip in 0..300_u64) {
        let mut whole = KeyRng::new(key);
        for _ in 0..skip {
            whole.next_u64();
        }
        let mut entered = KeyRng::at(key, skip);
        prop_assert_eq!(&whole, &entered);
        prop_assert_eq!(whole.normal().to_bits(), entered.normal().to_bits());
        prop_assert_eq!(whole.position(), skip + 2);
    }
}
