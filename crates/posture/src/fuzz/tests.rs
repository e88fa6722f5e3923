use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_text_is_read(text in "[-a-z:{}\\[\\]&*!|>'\"%@`#,? \n\t$(){}=<~.0-9ü]{0,200}") {
        for body in [fuzz_manifests, fuzz_compose, fuzz_command_line, fuzz_environment_file, fuzz_toolkit] {
            body(text.as_bytes());
        }
    }

    #[test]
    fn any_command_line_is_read(text in "docker run( (-[a-z]{1,3}|--[a-z-]{2,9}(=[^ ]{0,6})?|\\$\\{?[A-Z]{1,3}\\}?|\"[^\"]{0,5}|'[^']{0,5}'|[a-z:/ü]{0,9}|\\\\\n)){0,9}") {
        fuzz_command_line(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_a_layer(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        fuzz_layer(&bytes);
        fuzz_image_layout(&bytes);
    }
}
