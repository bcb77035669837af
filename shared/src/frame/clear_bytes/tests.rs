use super::*;
use proptest::prelude::*;

/// Cuts a frame, puts something like a ciphertext in the place of what is secret, wraps it and unwraps it.
fn there_and_back(codec: Codec, plain: &[u8], sframe: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Cut { clear, secret }) = codec.cut(plain) else { return Ok(()) };
    if codec.keeps_clear_bytes() {
        prop_assert!(plain.ends_with(secret));
    } else {
        prop_assert_eq!(secret, plain);
    }
    let wrapped = codec.wrap([&clear, sframe].concat(), clear.len());
    prop_assert!(wrapped.starts_with(&clear));
    // Nothing is left of an SFrame ciphertext without a byte, and it is none.
    if !wrapped.is_empty() {
        prop_assert_eq!(codec.unwrap(&wrapped), Ok(Unwrapped { clear, sframe: sframe.into() }));
    }
    Ok(())
}

#[test]
fn each_codec_has_its_rule() {
    let frame = |first: u8| [&[first][..], &[9; 19]].concat();
    for (codec, first, clear) in [
        (Codec::Vp8, 0b1010, 10),
        (Codec::Vp8, 0b1011, 3),
        (Codec::Vp9, 0x82, 0),
        (Codec::Opus, 0, 0),
        (Codec::Opus, 1, 0),
    ] {
        let frame = frame(first);
        let (start, rest) = frame.split_at(clear);
        assert_eq!(codec.cut(&frame), Ok(Cut { clear: start.into(), secret: rest }), "{codec:?} {first}");
        let unwrapped = Unwrapped { clear: start.into(), sframe: rest.into() };
        assert_eq!(codec.unwrap(&frame), Ok(unwrapped), "{codec:?} {first}");
    }
    for (first, clear) in [(0x08, 0x08), (0x30, 0x30), (0xff, 0x30)] {
        let frame = frame(first);
        assert_eq!(Codec::Av1.cut(&frame), Ok(Cut { clear: [clear].as_slice().into(), secret: &frame }));
    }
}

#[test]
fn a_frame_within_its_own_header_is_refused() {
    for codec in Codec::ALL {
        assert_eq!(codec.cut(&[]), Err(FrameError::Empty));
        assert_eq!(codec.unwrap(&[]), Err(FrameError::Empty));
        assert!(!codec.is_key_frame(&[]));
    }
    assert_eq!(Codec::Vp8.cut(&[0; 9]), Err(FrameError::TooShort { needs: 10, got: 9 }));
    assert_eq!(Codec::Vp8.cut(&[1; 2]), Err(FrameError::TooShort { needs: 3, got: 2 }));
    assert_eq!(Codec::Vp8.unwrap(&[1; 2]), Err(FrameError::TooShort { needs: 3, got: 2 }));
    assert_eq!(Codec::Vp8.cut(&[1; 3]), Ok(Cut { clear: [1; 3].as_slice().into(), secret: &[] }));
}

#[test]
fn codecs_are_named_by_mime_type_and_others_refused() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_mime(codec.mime()), Ok(codec));
        assert_eq!(Codec::from_mime(&codec.mime().to_ascii_lowercase()), Ok(codec));
        assert_eq!(Codec::from_mime(&codec.mime().to_ascii_uppercase()), Ok(codec));
    }
    for other in ["", "vp8", "video/H265", "video/AV1X", "video/rtx", "audio/red", "audio/PCMU", "video/vp8 "] {
        assert_eq!(Codec::from_mime(other), Err(UnknownCodec), "{other}");
    }
}

#[test]
fn key_frames_are_told_apart() {
    for (codec, plain, key) in [
        (Codec::Vp8, &[0x50][..], true),
        (Codec::Vp8, &[0xb1], false),
        // Profiles 0 to 3: key frame, another, and one that only shows an earlier one again.
        (Codec::Vp9, &[0b1000_0010], true),
        (Codec::Vp9, &[0b1000_0110], false),
        (Codec::Vp9, &[0b1000_1000], false),
        (Codec::Vp9, &[0b1010_0000], true),
        (Codec::Vp9, &[0b1001_0100], false),
        (Codec::Vp9, &[0b1011_0001], true),
        (Codec::Vp9, &[0b1011_0010], false),
        (Codec::Vp9, &[0b1011_0100], false),
        (Codec::Vp9, &[0b0100_0000], false),
        (Codec::Av1, &[0x12, 0, 0x0a, 1, 7], true),
        (Codec::Av1, &[0x12, 0, 0x32, 1, 7], false),
        (Codec::H264, &[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 0xb8], true),
        (Codec::H264, &[0, 0, 0, 1, 0x41, 0xb8], false),
        (Codec::Opus, &[0x78], true),
    ] {
        assert_eq!(codec.is_key_frame(plain), key, "{codec:?} {plain:02x?}");
    }
}

proptest! {
    #[test]
    fn any_frame_is_wrapped_and_unwrapped(plain: Vec<u8>, sframe: Vec<u8>) {
        for codec in Codec::ALL {
            there_and_back(codec, &plain, &sframe)?;
        }
    }

    /// The bytes that matter to H.264 and AV1, and few others.
    #[test]
    fn frames_of_start_codes_and_escapes_too(
        plain in prop::collection::vec(prop::sample::select(BYTES), 0..60),
        sframe in prop::collection::vec(prop::sample::select(BYTES), 0..60),
    ) {
        for codec in Codec::ALL {
            there_and_back(codec, &plain, &sframe)?;
            there_and_back(codec, &[&[0, 0, 0, 1, 0x65, 0xb8], &plain[..]].concat(), &sframe)?;
        }
    }

    /// What unwraps was wrapped: nothing on the way can write the same sealed frame in another way, but for what
    /// depacketizers do.
    #[test]
    fn there_is_one_way_to_wrap(sealed in prop::collection::vec(prop::sample::select(BYTES), 0..40)) {
        let sealed = [&[0, 0, 0, 1, 0x65, 0xb8], &sealed[..]].concat();
        if let Ok(Unwrapped { clear, sframe }) = Codec::H264.unwrap(&sealed) {
            prop_assert_eq!(Codec::H264.wrap([&clear, &sframe[..]].concat(), clear.len()), sealed);
        }
    }
}

const BYTES: &[u8] = &[0, 0, 0, 1, 2, 3, 4, 0x80, 0xff, 0x41, 0x65, 0x67, 0x68, 0x08, 0x0a, 0x12, 0x30, 0x32];
