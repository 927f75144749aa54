use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// RFC 5769 §2.2 and §2.3 without the attribute MESSAGE-INTEGRITY, whose password is none of ours.
const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

#[test]
fn addresses_are_masked_as_in_the_test_vectors_of_rfc_5769() {
    let request = Request { id: ID, fingerprint: false };
    let v4: SocketAddr = "192.0.2.1:32853".parse().unwrap();
    let v6: SocketAddr = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    for (observed, attribute) in
        [(v4, "0020 0008 0001 a147 e112a643"), (v6, "0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9")]
    {
        let answer = request.answer(observed);
        assert_eq!(answer[HEADER..], bytes(attribute));
        assert_eq!(Response::parse(&answer), Some(Response { id: ID, observed }));
    }
}

#[test]
fn whoever_sends_a_fingerprint_gets_one() {
    let mut asked = request(ID).to_vec();
    assert_eq!(Request::parse(&asked), Some(Request { id: ID, fingerprint: false }));
    asked.extend(bytes("8028 0004 00000000"));
    asked[3] = 8;
    let read = Request::parse(&asked).unwrap();
    assert!(read.fingerprint);
    let answer = read.answer(([192, 0, 2, 1], 1).into());
    let (body, sum) = answer.split_last_chunk::<4>().unwrap();
    let sum = u32::from_be_bytes(*sum) ^ FINGERPRINT_XOR;
    assert_eq!(sum, crc32fast::hash(&body[..body.len() - 4]));
    assert!(Response::parse(&answer).is_some());
}

#[test]
fn what_is_no_request_is_not_answered() {
    let good = request(ID);
    for (why, bad) in [
        ("cut", good[..19].to_vec()),
        ("a byte too many", [good.as_slice(), &[0]].concat()),
        ("no magic cookie", {
            let mut bytes = good.to_vec();
            bytes[4] = 0;
            bytes
        }),
        ("a response", Request { id: ID, fingerprint: false }.answer(([192, 0, 2, 1], 1).into())),
        ("an attribute beyond the end", [&good[..2], &[0, 4], &good[4..], &[0x80, 0x22, 0, 4]].concat()),
        ("must be understood", [&good[..2], &[0, 8], &good[4..], &[0, 6, 0, 1, b'u', 0, 0, 0]].concat()),
        ("WireGuard", {
            let mut bytes = vec![0; 148];
            bytes[0] = 1;
            bytes
        }),
    ] {
        assert_eq!(Request::parse(&bad), None, "{why}");
    }
}

#[test]
fn an_old_server_is_understood_and_an_odd_answer_is_not() {
    let old = [&bytes("0101 000c 2112a442")[..], &ID, &bytes("0001 0008 0001 8055 c0000201")].concat();
    assert_eq!(Response::parse(&old).unwrap().observed, "192.0.2.1:32853".parse().unwrap());
    let odd = [&bytes("0101 000c 2112a442")[..], &ID, &bytes("0020 0008 0003 a147 e112a643")].concat();
    assert_eq!(Response::parse(&odd), None, "no family has number 3");
    assert_eq!(Response::parse(&bytes("0101 0000 2112a442 b7e7a701bc34d686fa87dfae")), None, "no address");
}

#[test]
fn a_message_longer_than_any_of_its_kind_is_not_read() {
    let padded = |length: usize| {
        let mut bytes = request(ID).to_vec();
        // One attribute that may be passed over fills the rest (RFC 8489 §14).
        let fill = length - bytes.len() - 4;
        bytes.extend([0x80, 0x22]);
        bytes.extend(u16::try_from(fill).unwrap().to_be_bytes());
        bytes.resize(length, b'x');
        bytes[2..4].copy_from_slice(&u16::try_from(length - HEADER).unwrap().to_be_bytes());
        bytes
    };
    assert!(Request::parse(&padded(MAX_MESSAGE)).is_some());
    assert_eq!(Request::parse(&padded(MAX_MESSAGE + 4)), None);
}
