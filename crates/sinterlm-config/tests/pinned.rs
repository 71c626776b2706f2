//! Values that checkpoints and splits depend on; computed by an independent program, never changed.

use rand::Rng;
use sinterlm_config::{KeyRng, Permutation, Seed, Stream, stable_hash};

#[test]
fn stable_hash_keeps_its_values() {
    assert_eq!(stable_hash(b""), 0xf52a_15e9_a9b5_e89b);
    assert_eq!(stable_hash(b"a"), 0x02c0_bdbf_4814_20f8);
    assert_eq!(stable_hash(b"blocks.0.attention.q"), 0xb8b1_b7d6_d6c2_6c68);
}

#[test]
fn seed_keys_keep_their_values() {
    assert_eq!(Seed(0).key(Stream::Init, 0, 0, 0), 0xf786_08fe_6c50_0579);
    assert_eq!(
        Seed(42).key(Stream::Dropout, 1000, 2, 7),
        0xeaec_ede6_33e2_ca00
    );
    let max = u64::MAX;
    assert_eq!(
        Seed(max).key(Stream::Probe, max, max, max),
        0x00ab_03a6_9db4_fc86
    );
}

#[test]
fn streams_keep_their_numbers() {
    let streams = [
        Stream::Init,
        Stream::Order,
        Stream::Dropout,
        Stream::Sample,
        Stream::Split,
        Stream::Stories,
        Stream::Probe,
    ];
    assert_eq!(streams.map(|stream| stream as u64), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn key_rng_keeps_its_words() {
    let mut rng = KeyRng::new(42);
    let words = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
    assert_eq!(
        words,
        [
            0x9f4a_d860_a000_f152,
            0xf4f9_ec9a_3f27_1041,
            0x6f54_7866_df1a_ac37
        ]
    );
}

#[test]
fn permutations_keep_their_order() {
    let order = Permutation::new(7, 10);
    let images: Vec<u64> = (0..10).map(|i| order.index(i)).collect();
    assert_eq!(images, [9, 6, 5, 2, 3, 1, 7, 8, 0, 4]);
}
