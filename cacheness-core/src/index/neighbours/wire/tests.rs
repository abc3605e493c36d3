use super::*;

fn sent(message: &impl Serialize) -> Vec<u8> {
    let mut frame = Vec::new();
    send(&mut frame, message).unwrap();
    frame
}

#[test]
fn a_change_comes_back_as_it_was_sent() {
    let facts = Facts { expires_at: Some(Timestamp::from_micros(9)), groups: vec![7], ..Facts::default() };
    for (expected, row) in [
        (Expected::Anything, None),
        (Expected::Absent, Some((&b"row"[..], &facts))),
        (Expected::Bytes(b"old"), Some((b"", &facts))),
    ] {
        let change = Change { key: b"key", expected, row };
        let frame = sent(&Request::Apply(vec![OwnedChange::of(&change)], 7));
        let Request::Apply(changes, 7) = receive(&mut &frame[..]).unwrap() else { panic!("another request") };
        assert_eq!(format!("{:?}", changes[0].borrowed()), format!("{change:?}"));
    }
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_frame_is_an_error_or_a_message() {
    let frame = sent(&Ok::<_, Refusal>(Reply::of_rows(vec![None, Some(vec![7; 50])])));
    for len in 0..frame.len() {
        assert!(receive::<Answer>(&mut &frame[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = receive::<Answer>(&mut &flipped[..]);
    }
    assert!(receive::<Answer>(&mut &[255; 64][..]).is_err());
}

#[test]
fn an_error_keeps_its_kind_and_its_words() {
    for kind in KINDS {
        let error = Refusal::of(&CacheError::new(kind, "why")).into_error();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, "why"));
    }
}
