use proptest::prelude::*;

use super::*;

fn said(payload: &[u8]) -> String {
    check(payload).unwrap_err()
}

#[test]
fn recorded_answers_come_out_byte_for_byte() {
    let redacted =
        "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: ";
    // The first byte of a base64-decoded payload that was not base64, as recorded.
    assert_eq!(
        said(b"\x99\xa9\x9a"),
        format!(
            "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON String, Number, Array, Object or \
             token 'null', 'true' or 'false'){redacted}1]"
        )
    );
    // A letter of Latin-1 where a value should stand, followed by a byte that starts nothing.
    assert_eq!(said(b"\xdb\x87"), format!("Invalid UTF-8 start byte 0x87{redacted}3]"));
}

#[test]
fn each_kind_of_fault_has_its_text_and_place() {
    let table: &[(&[u8], &str, u32, u32)] = &[
        (b"", "No content to map due to end-of-input", 1, 1),
        (b"hello", "Unrecognized token 'hello': was expecting (JSON", 1, 6),
        (b"nul", "Unrecognized token 'nul': was expecting", 1, 4),
        (b"trueish", "Unrecognized token 'trueish': was expecting", 1, 8),
        (b"{\"a\":,", "Unexpected character (',' (code 44)): expected a value", 1, 6),
        (b"{a:1}", "Unexpected character ('a' (code 97)): was expecting double-quote to start field name", 1, 2),
        (
            b"{\"a\" 1}",
            "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value",
            1,
            6,
        ),
        (
            b"{\"a\":1 \"b\"}",
            "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries",
            1,
            8,
        ),
        (b"[1 2]", "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries", 1, 4),
        (b"[1,]", "Unexpected character (']' (code 93)): expected a value", 1, 4),
        (b"{\"a\":1,}", "Unexpected character ('}' (code 125)): was expecting double-quote to start field name", 1, 8),
        (b"{", "Unexpected end-of-input: expected close marker for Object (start marker at [Source", 1, 2),
        (b"[1", "Unexpected end-of-input: expected close marker for Array (start marker at [Source", 1, 3),
        (b"{\"a\":", "Unexpected end-of-input within/between Object entries", 1, 6),
        (b"[1}", "Unexpected close marker '}': expected ']' (for Array starting at [Source", 1, 3),
        (b"1}", "Unexpected character ('}' (code 125)): Expected space separating root-level values", 1, 2),
        (b"{}]", "Unexpected close marker ']': expected '}' (for root starting at", 1, 3),
        (b"0D", "Unexpected character ('D' (code 68)): Expected space separating root-level values", 1, 2),
        (
            b"--",
            "Unexpected character ('-' (code 45)) in numeric value: expected digit (0-9) to follow minus sign",
            1,
            2,
        ),
        (b"01", "Invalid numeric value: Leading zeroes not allowed", 1, 3),
        (b"1.x", "Unexpected character ('x' (code 120)) in numeric value: Decimal point not followed by a digit", 1, 3),
        (b"1e", "Unexpected end-of-input in a Number value", 1, 3),
        (b"\"a", "Unexpected end-of-input in VALUE_STRING", 1, 3),
        (b"\"\x01\"", "Illegal unquoted character ((CTRL-CHAR, code 1)): has to be escaped", 1, 2),
        (b"\"\\x\"", "Unrecognized character escape 'x' (code 120)", 1, 3),
        (b"\"\\u12g4\"", "Unexpected character ('g' (code 103)): expected a hex-digit for character escape", 1, 6),
        (b"\"\xc3\x28\"", "Invalid UTF-8 middle byte 0x28", 1, 4),
        (b"\"\xed\xa0\x80\"", "Invalid UTF-8 middle byte 0xa0", 1, 4),
        (b"\"\xc0\x80\"", "Invalid UTF-8 start byte 0xc0", 1, 3),
        (b"\x01", "Illegal character ((CTRL-CHAR, code 1)): only regular white space", 1, 1),
        (b"{\r\n \"a\":1,\n  x", "Unexpected character ('x' (code 120)): was expecting double-quote", 3, 3),
        (b"{} {}", "Trailing token found after value", 1, 4),
    ];
    for (payload, text, line, column) in table {
        let message = said(payload);
        let shown = String::from_utf8_lossy(payload);
        assert!(message.starts_with(text), "{shown}: {message}");
        assert!(message.ends_with(&format!("disabled); line: {line}, column: {column}]")), "{shown}: {message}");
    }
}

#[test]
fn json_is_accepted() {
    for payload in [
        "null",
        " 1 ",
        "-0",
        "1.5e+10",
        "\"é\\u00e9\\n𝄞\"",
        "{}",
        "[ ]",
        "[1,[],{\"a\":{\"b\":[true,false,null]}}]",
        "{ \"a\" : 1 }",
        "\u{feff}{}",
    ] {
        assert_eq!(check(payload.as_bytes()), Ok(()), "{payload}");
    }
}

#[test]
fn nesting_ends_at_its_limit() {
    let nest = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(check(nest(DEPTH_MAX).as_bytes()), Ok(()));
    let message = said(nest(DEPTH_MAX + 1).as_bytes());
    assert!(message.starts_with("Document nesting depth (1001) exceeds the maximum allowed (1000"), "{message}");
    assert!(said("[".repeat(1 << 20).as_bytes()).starts_with("Document nesting depth"));
}

#[test]
fn an_endless_word_is_cut_short() {
    assert!(said(&[b'x'; 10_000]).len() < 512);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_accepts_what_serde_json_accepts(text in r#"[\[\]{}",:0-9eE+.\-ntrufalsé\\ \n]{0,24}"#) {
        let ours = check(text.as_bytes());
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs.err());
    }

    #[test]
    fn a_long_string_is_judged_as_a_short_one_its_columns_moved(
        lead in 0_usize..200,
        tail in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..24),
            r#"[a-zé\\"\\u0-9 \n\x01]{0,24}"#.prop_map(String::into_bytes),
            Just(b"\\u00e9\xc3\xa9\\n\"".to_vec()),
        ],
    ) {
        let verdict = |lead| check(&[b"\"", vec![b'a'; lead].as_slice(), &tail].concat());
        // The text, the line and the column, the latter without `lead` on the line where it stands.
        let place = |message: String, lead: usize| {
            let (text, place) = message.rsplit_once("line: ").unwrap();
            let (line, column) = place.strip_suffix(']').unwrap().split_once(", column: ").unwrap();
            let column: usize = column.parse().unwrap();
            (text.to_owned(), line.to_owned(), if line == "1" { column - lead } else { column })
        };
        prop_assert_eq!(verdict(lead).map_err(|m| place(m, lead)), verdict(0).map_err(|m| place(m, 0)));
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if check(&bytes).is_ok() {
            prop_assert!(std::str::from_utf8(&bytes).is_ok());
        }
    }
}
