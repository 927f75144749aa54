//! Who is called, and how many at once.

use super::*;

fn key(n: usize) -> PublicKey {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
    PublicKey::try_new(bytes).unwrap()
}

fn group(n: u8) -> GroupId {
    GroupId::from_random([n; 16])
}

#[test]
fn a_round_calls_so_many_and_the_next_goes_on_behind_them() {
    let count = MAX_CALLS + MAX_CALLS / 2;
    let spoken: Peers =
        [(group(1), (0..10).map(key).collect()), (group(2), (10..count).map(key).collect())].into();
    let mut calls = Calls::new(spoken);
    calls.moved(Duration::ZERO);
    let mut called: BTreeMap<PublicKey, u32> = BTreeMap::new();
    let mut now = Duration::ZERO;
    for _ in 0..3 {
        let due = calls.take_due(now);
        assert_eq!(due.iter().map(|(_, keys)| keys.len()).sum::<usize>(), MAX_CALLS);
        for key in due.iter().flat_map(|(_, keys)| keys) {
            *called.entry(*key).or_default() += 1;
        }
        assert!(calls.take_due(now).is_empty(), "one round at a time");
        now += CALL_AGAIN;
    }
    assert_eq!(called.len(), count);
    assert!(called.values().all(|times| *times == 2), "nobody is passed over: {called:?}");
}
