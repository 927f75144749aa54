use super::*;

fn read(end: End, bytes: &[u8]) -> Result<Vec<Message>, WebSocketError> {
    let mut decoder = Decoder::new(end);
    decoder.push(bytes);
    let mut messages = Vec::new();
    while let Some(message) = decoder.next_message()? {
        messages.push(message);
    }
    Ok(messages)
}

#[test]
fn the_examples_of_rfc_6455_are_read() {
    // §5.7, as binary messages.
    let unmasked = [0x82, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let masked = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let pieces = [0x02, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    let hello = Ok(vec![Message::Binary(b"Hello".to_vec())]);
    assert_eq!(read(End::Client, &unmasked), hello);
    assert_eq!(read(End::Client, &pieces), hello);
    assert_eq!(read(End::Server, &masked), hello);
    assert_eq!(read(End::Server, &unmasked), Err(WebSocketError), "a client masks");
    assert_eq!(read(End::Client, &masked), Err(WebSocketError), "a server does not");
}

#[test]
fn messages_are_read_as_they_were_written_however_they_are_cut() {
    let messages = [
        Message::Binary(vec![1; 125]),
        Message::Ping(b"there?".to_vec()),
        Message::Binary(vec![2; 126]),
        Message::Binary(vec![3; 65_535]),
        Message::Pong(Vec::new()),
        Message::Binary(vec![4; MAX_BATCH]),
        Message::Close,
    ];
    for (end, mask) in [(End::Server, Some([1, 2, 3, 4])), (End::Client, None)] {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| write(&mut bytes, message, mask));
        assert_eq!(read(end, &bytes), Ok(messages.to_vec()));
        let (mut decoder, mut seen) = (Decoder::new(end), Vec::new());
        for piece in bytes.chunks(997) {
            decoder.push(piece);
            while let Some(message) = decoder.next_message().unwrap() {
                seen.push(message);
            }
        }
        assert_eq!(seen, messages);
    }
}

#[test]
fn a_control_message_may_stand_between_the_pieces_of_another() {
    let bytes = [0x02, 0x01, b'a', 0x89, 0x00, 0x80, 0x01, b'b'];
    let expected = vec![Message::Ping(Vec::new()), Message::Binary(b"ab".to_vec())];
    assert_eq!(read(End::Client, &bytes), Ok(expected));
}

#[test]
fn what_breaks_the_protocol_ends_it() {
    let too_long = [&[0x02, 127][..], &(MAX_BATCH as u64 + 1).to_be_bytes()].concat();
    let mut grows = Vec::new();
    for first in [0x02_u8, 0x00] {
        grows.extend([&[first, 127][..], &40_000_u64.to_be_bytes(), &[0; 40_000]].concat());
    }
    for (why, bytes) in [
        ("text", vec![0x81, 0]),
        ("a reserved bit", vec![0xC2, 0]),
        ("an unknown opcode", vec![0x83, 0]),
        ("a continuation of nothing", vec![0x80, 0]),
        ("a second beginning", vec![0x02, 0, 0x02, 0]),
        ("a ping in pieces", vec![0x09, 0]),
        ("a long ping", vec![0x89, 126, 0, u8::try_from(MAX_CONTROL + 1).unwrap()]),
        ("longer than the limit", too_long),
        ("longer than the limit in pieces", grows),
    ] {
        assert_eq!(read(End::Client, &bytes), Err(WebSocketError), "{why}");
    }
}
