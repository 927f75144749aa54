use proptest::prelude::*;

use super::*;
use crate::NodeId;

fn beat(now_ms: u64) -> Line {
    Line::Beat(Beat { now_ms })
}

fn drain(decoder: &mut LineDecoder) -> Vec<Result<Line, LineError>> {
    std::iter::from_fn(|| decoder.next_line()).collect()
}

proptest! {
    #[test]
    fn lines_survive_any_cut(cuts in prop::collection::vec(1usize..40, 1..40)) {
        let lines: Vec<Line> = (0..10).map(beat).collect();
        let bytes: Vec<u8> = lines.iter().flat_map(Line::encode).collect();
        let mut decoder = LineDecoder::default();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            decoder.push(now);
            rest = later;
        }
        decoder.push(rest);
        prop_assert_eq!(drain(&mut decoder), lines.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn byte_soup_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = LineDecoder::default();
        decoder.push(&bytes);
        drain(&mut decoder);
    }
}

#[test]
fn unknown_kinds_and_fields_are_ignored() {
    assert_eq!(Line::parse(br#"{"teapot":{"a":1}}"#), Ok(Line::Unknown("teapot".into())));
    assert_eq!(Line::parse(br#"{"beat":{"now_ms":1,"mood":"good"}}"#), Ok(beat(1)));
}

#[test]
fn malformed_lines_end_the_stream() {
    for bad in [
        "{}",
        "[]",
        "1",
        "{",
        r#"{"beat":{}}"#,
        r#"{"beat":{"now_ms":1},"bye":{}}"#,
        r#"{"put":{"scope":1}}"#,
    ] {
        assert_eq!(Line::parse(bad.as_bytes()), Err(LineError::Malformed), "{bad}");
    }
    let mut decoder = LineDecoder::default();
    decoder.push(b"nonsense\n");
    decoder.push(&beat(1).encode());
    assert_eq!(drain(&mut decoder), [Err(LineError::Malformed)]);
}

#[test]
fn an_endless_line_is_refused_before_it_fills_memory() {
    let mut decoder = LineDecoder::default();
    for _ in 0..3 {
        decoder.push(&vec![b'x'; MAX_LINE_BYTES / 2]);
    }
    assert_eq!(drain(&mut decoder), [Err(LineError::TooLong)]);
    assert!(decoder.partial.len() <= MAX_LINE_BYTES);
}

#[test]
fn empty_lines_are_no_lines() {
    let mut decoder = LineDecoder::default();
    decoder.push(b"\n\n");
    decoder.push(&Line::Reset(Reset { scope: ScopeId::from(&NodeId::from_random([1; 16])) }).encode());
    assert_eq!(drain(&mut decoder).len(), 1);
}
