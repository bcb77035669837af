use super::*;
use proptest::prelude::*;

const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
/// `first_mb_in_slice` 0, `slice_type` 2, `pic_parameter_set_id` 0 in five bits.
const IDR: &[u8] = &[0x65, 0b1011_1000, 0x11, 0x22];
/// `slice_type` 7 instead, as other encoders write: the third number is in the next byte.
const IDR_7: &[u8] = &[0x65, 0b1000_1000, 0b1000_0100, 0x22];

/// NAL units, each behind a start code of this many bytes.
fn units(zeros: &[usize], units: &[&[u8]]) -> Vec<u8> {
    zeros.iter().zip(units).flat_map(|(zeros, unit)| [&vec![0; *zeros][..], &[1], unit].concat()).collect()
}

fn cut_at(frame: &[u8]) -> usize {
    let (_, rest) = cut(frame).expect("a frame");
    frame.len() - rest.len()
}

#[test]
fn all_up_to_the_third_number_of_the_first_slice_is_clear() {
    let key = units(&[3, 3, 3], &[SPS, PPS, IDR]);
    assert_eq!(cut(&key), Ok((key[..key.len() - 2].into(), &IDR[2..])));
    let other = units(&[3, 3, 3], &[SPS, PPS, IDR_7]);
    assert_eq!(cut_at(&other), other.len() - 1);
    let delta = units(&[3], &[&[0x41, 0x9a, 1, 2]]);
    assert_eq!(cut_at(&delta), 6);
    // All that comes behind the first slice is sealed, whatever it is.
    let two = units(&[3, 2, 2], &[IDR, IDR, SPS]);
    assert_eq!(cut_at(&two), 6);
    // Nothing is left to seal, which is well.
    assert_eq!(cut_at(&units(&[3], &[&[0x41, 0xb8]])), 6);
}

#[test]
fn numbers_are_followed_over_bytes_and_escapes() {
    assert_eq!(readable(&[0b1110_0000]), Some(1));
    assert_eq!(readable(&[0b1000_1000, 0x80]), Some(2));
    // 2^24 - 1 in 49 bits, with an escape in the zeros; then 0 and 0.
    assert_eq!(readable(&[0, 0, 3, 0, 0x80, 0, 0, 0b0110_0000]), Some(8));
    assert_eq!(readable(&[0, 0, 3]), None);
    assert_eq!(readable(&[0b1010_0000]), None);
    assert_eq!(readable(&[]), None);
    assert_eq!(readable(&[0, 0, 1, 0xff, 0xff, 0xff]), None, "a start code ends the slice");
    assert_eq!(readable(&[0, 0, 3, 0, 0, 3, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff]), Some(11));
    assert_eq!(readable(&[0, 0, 3, 0, 0, 3, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff]), None, "no number is so long");
}

#[test]
fn start_codes_are_long_once_sealed() {
    let long = units(&[3, 3, 3], &[SPS, PPS, IDR]);
    let (clear, rest) = cut(&long).expect("a frame");
    for zeros in [[2, 2, 2], [3, 2, 2], [2, 3, 3], [5, 3, 2], [3, 3, 4]] {
        let short = units(&zeros, &[SPS, PPS, IDR]);
        assert_eq!(cut(&short), Ok((clear.clone(), rest)), "{zeros:?}");
    }
}

#[test]
fn what_holds_picture_and_has_no_rule_is_refused() {
    for (unit, kind) in [(0x62, 2), (0x63, 3), (0x64, 4), (0x73, 19), (0x74, 20), (0x78, 24), (0x7c, 28), (0x60, 0)] {
        assert_eq!(cut(&units(&[3, 3], &[SPS, &[unit, 0xff, 0xff]])), Err(FrameError::NalUnit(kind)));
    }
    assert_eq!(cut(&units(&[3], &[&[0xe5, 0xb8, 1]])), Err(FrameError::NalUnit(5)), "the forbidden bit");
    assert_eq!(cut(&units(&[3, 3], &[SPS, PPS])), Err(FrameError::NoSlice));
    assert_eq!(cut(&units(&[3, 3], &[SPS, &[]])), Err(FrameError::NoSlice));
    assert_eq!(cut(&units(&[3], &[&[0x65]])), Err(FrameError::NoSlice));
    assert_eq!(cut(&[0, 0, 0, 1]), Err(FrameError::NoSlice));
    for bytes in [&b"avcC"[..], &[0, 0, 0, 4, 0x65, 1, 2, 3], &[0, 0, 7, 0, 0, 1, 0x65, 0xb8], &[0, 0], &[0, 0, 0]] {
        assert_eq!(cut(bytes), Err(FrameError::NoStartCode), "{bytes:02x?}");
    }
}

#[test]
fn escapes_are_written_over_the_border_too() {
    for (clear, sealed, escaped) in [
        (&[9][..], &[0, 0, 1, 0, 0, 4][..], &[0, 0, 3, 1, 0, 0, 4, 0x80][..]),
        (&[9], &[0, 0, 0, 0, 0, 0], &[0, 0, 3, 0, 0, 3, 0, 0, 0x80]),
        (&[9, 0, 0], &[1, 1], &[3, 1, 1, 0x80]),
        (&[9, 0], &[0, 2], &[0, 3, 2, 0x80]),
        (&[9, 0], &[0, 0], &[0, 3, 0, 0x80]),
        (&[9, 0, 0], &[4], &[4, 0x80]),
        (&[9], &[], &[0x80]),
        (&[9], &[0, 0], &[0, 0, 0x80]),
        (&[9], &[0, 0, 3], &[0, 0, 3, 3, 0x80]),
    ] {
        let frame = escape([clear, sealed].concat(), clear.len());
        assert_eq!(frame, [clear, escaped].concat());
        assert_eq!(unescape(&frame, clear.len()), Ok(sealed.into()));
    }
}

#[test]
fn what_a_sender_does_not_write_is_refused() {
    for (clear, escaped) in [
        (&[9][..], &[][..]),
        (&[9], &[1]),
        (&[9], &[0, 0, 1, 0x80]),
        (&[9], &[0, 0, 0, 0x80]),
        (&[9], &[0, 0, 3, 4, 0x80]),
        (&[9], &[0, 0, 3]),
        (&[9], &[0x80, 0, 0]),
        (&[9, 0, 0], &[1, 0x80]),
        (&[9, 0, 0], &[3, 4, 0x80]),
    ] {
        let frame = [clear, escaped].concat();
        assert_eq!(unescape(&frame, clear.len()), Err(FrameError::NotEscaped), "{frame:02x?}");
    }
}

proptest! {
    #[test]
    fn no_start_code_is_in_what_is_escaped(
        clear in prop::collection::vec(0_u8..5, 0..4),
        sealed in prop::collection::vec(0_u8..5, 0..200),
    ) {
        // Two zeros and a byte up to two are no beginning of a slice.
        let clear = [&[0x65], &clear[..]].concat();
        prop_assume!(!clear.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
        let frame = escape([&clear[..], &sealed[..]].concat(), clear.len());
        prop_assert!(!frame.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
        prop_assert_ne!(frame.last(), Some(&0));
        prop_assert_eq!(unescape(&frame, clear.len()), Ok(sealed.into()));
    }

    #[test]
    fn any_bytes_are_cut_or_refused(
        frame in prop::collection::vec(prop::sample::select(&[0_u8, 0, 1, 3, 0x65, 0x67, 0xb8][..]), 0..80),
    ) {
        if let Ok((clear, rest)) = cut(&frame) {
            prop_assert!(frame.ends_with(rest));
            prop_assert!(clear.starts_with(LONG_START_CODE));
            // Cutting what is sent gives the same as cutting what was there.
            let sent = [&clear, rest].concat();
            prop_assert_eq!(cut(&sent), Ok((clear, rest)));
            let _ = unescape(&frame, frame.len() - rest.len());
        }
    }
}
