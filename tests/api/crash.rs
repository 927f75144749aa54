//! Many writers at once, and control killed among them: what was acknowledged is there, nothing is there
//! twice, and the revisions of each group are without a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::client::{Caller, Control};

const CLIENTS: usize = 50;
const WRITES: usize = 200;
const GROUPS: usize = 5;

/// Longer than it takes on a busy machine; the bar of the rung is a minute.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long a client waits before it calls again where nobody answered.
const AGAIN: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_crash_and_nothing_is_done_twice() {
    let begun = tokio::time::Instant::now();
    let mut control = Control::start();
    let mut caller = control.caller();
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("ng_00000000-0000-4000-8000-{n:012}")).collect();
    for group in &groups {
        let base = caller.base.clone();
        let (status, made) = caller.call("POST", &base, &json!({"id": group, "label": group})).await.unwrap();
        assert_eq!(status, 202, "{made}");
    }
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (caller, done) = (control.caller(), Arc::clone(&done));
            tokio::spawn(write(caller, groups[number % GROUPS].clone(), number, done))
        })
        .collect();
    while done.load(Ordering::Relaxed) < CLIENTS * WRITES / 2 {
        assert!(begun.elapsed() < DEADLINE, "half of the writes are not done in time");
        tokio::time::sleep(AGAIN).await;
    }
    control.crash();
    let mut acknowledged: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for client in clients {
        let (group, written) = tokio::time::timeout(DEADLINE, client).await.unwrap().unwrap();
        acknowledged.entry(group).or_default().extend(written);
    }
    for group in &groups {
        check(&mut caller, group, &acknowledged[group]).await;
    }
    println!("{} writes by {CLIENTS} clients in {:?}", CLIENTS * WRITES, begun.elapsed());
}

/// Links members, each until it is acknowledged; gives the versions that were answered.
async fn write(
    mut caller: Caller,
    group: String,
    number: usize,
    done: Arc<AtomicUsize>,
) -> (String, BTreeMap<String, u64>) {
    let path = format!("{}/{group}/members", caller.base);
    let mut acknowledged = BTreeMap::new();
    for at in 0..WRITES {
        let id = format!("app_{number}-{at}");
        let version = loop {
            match caller.call("POST", &path, &json!({"id": id})).await {
                Some((202, answer)) => break answer["version"].as_u64().unwrap(),
                Some((503, _)) | None => tokio::time::sleep(AGAIN).await,
                Some((status, answer)) => panic!("{status} {answer}"),
            }
        };
        acknowledged.insert(id, version);
        done.fetch_add(1, Ordering::Relaxed);
    }
    (group, acknowledged)
}

async fn check(caller: &mut Caller, group: &str, acknowledged: &BTreeMap<String, u64>) {
    let path = format!("{}/{group}", caller.base);
    // The connection of before the crash may be held for one.
    let shown = match caller.call("GET", &path, &Value::Null).await {
        Some((_, shown)) => shown,
        None => caller.call("GET", &path, &Value::Null).await.unwrap().1,
    };
    let members: BTreeSet<&str> =
        shown["members"].as_array().unwrap().iter().map(|member| member["id"].as_str().unwrap()).collect();
    let lost: Vec<_> = acknowledged.keys().filter(|id| !members.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(members.len(), acknowledged.len(), "nothing is there that nobody asked for");

    let mut links: BTreeMap<String, u64> = BTreeMap::new();
    let mut versions = BTreeSet::new();
    for offset in (0..).step_by(1_000) {
        let page = format!("{path}/audit?limit=1000&offset={offset}");
        let (_, entries) = caller.call("GET", &page, &Value::Null).await.unwrap();
        let entries = entries.as_array().unwrap().clone();
        for entry in &entries {
            let version = entry["version"].as_u64().unwrap();
            versions.insert(version);
            if entry["action"] == "member.link" {
                let twice = links.insert(entry["target"].as_str().unwrap().to_owned(), version);
                assert_eq!(twice, None, "done twice: {entry}");
            }
        }
        if entries.is_empty() {
            break;
        }
    }
    assert_eq!(links.len(), acknowledged.len());
    assert!(
        acknowledged.iter().all(|(id, version)| links[id] <= *version),
        "an answer includes what it answers"
    );
    let last = shown["version"].as_u64().unwrap();
    assert!(versions.iter().copied().eq(1..=last), "the versions of {group} have a gap before {last}");
}
