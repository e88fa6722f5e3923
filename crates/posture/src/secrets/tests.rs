use super::*;

/// Not one of anybody: put together here so that no scanner of this repository takes it for a leak.
fn hugging_face() -> String {
    ["hf", "_QwErTyUiOpAsDfGhJkLzXcVbNm", "Q7w8E9r0T2"].concat()
}

#[test]
fn a_token_is_known_by_its_shape_wherever_it_stands() {
    let text = format!("curl -H 'Authorization: Bearer {}' x", hugging_face());
    let secret = find(&text).unwrap();
    assert_eq!(secret.what, "a Hugging Face token");
    assert_eq!(secret.start, text.find("hf_").unwrap());
}

#[test]
fn a_secret_is_never_repeated() {
    let token = hugging_face();
    let secret = in_value("HF_TOKEN", &token).unwrap();
    assert!(secret.shown.len() < 30 && !token.contains(&secret.shown));
    assert_eq!(
        secret.shown,
        format!("`hf_Q…` ({} characters)", token.len())
    );
}

#[test]
fn what_stands_in_for_a_secret_is_none() {
    for value in [
        "",
        "changeme-please",
        "<your-hf-token>",
        "${HF_TOKEN}",
        "$(HF_TOKEN)",
        "{{ .Values.token }}",
        "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-no-key-required",
        "YOUR_API_KEY_GOES_HERE",
        "EMPTY",
        "token-abc123",
        "/run/secrets/hf-token",
        "vault:secret/data/llm#token",
        "0000000000000000",
    ] {
        assert_eq!(in_value("HF_TOKEN", value), None, "{value}");
    }
}

#[test]
fn names_of_secrets_are_told_from_names_that_only_look_so() {
    for name in [
        "HF_TOKEN",
        "NGC_API_KEY",
        "--api-key",
        "apiKey",
        "DB_PASSWORD",
        "AZURE_CLIENT_SECRET",
        "aws_secret_access_key",
    ] {
        assert!(names_a_secret(name), "{name}");
    }
    for name in [
        "MAX_TOKENS",
        "EOS_TOKEN",
        "TOKENIZER",
        "HF_TOKEN_PATH",
        "API_KEY_FILE",
        "SECRET_NAME",
        "PASSWORD_URL",
        "PUBLIC_KEY",
        "KEY",
        "--max-num-seqs",
        "AWS_ACCESS_KEY_ID",
    ] {
        assert!(!names_a_secret(name), "{name}");
    }
}

#[test]
fn private_keys_are_found_and_public_or_encrypted_ones_are_not() {
    let body = "MC4CAQAwBQYDK2VwBCIEIJ7vN1oXzq2mQ0uTtY5wKc9dRb3s\n";
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n");
    assert_eq!(find(&pem("PRIVATE KEY")).unwrap().what, "a private key");
    assert_eq!(find(&pem("PUBLIC KEY")), None);
    assert_eq!(find(&pem("ENCRYPTED PRIVATE KEY")), None);
}

#[test]
fn a_password_in_an_address_is_one_and_a_variable_is_not() {
    assert!(find("postgresql://llm:Gh7kQ2mZx9@db:5432/x").is_some());
    assert_eq!(find("postgresql://llm:${DB_PASSWORD}@db:5432/x"), None);
    assert_eq!(find("https://registry.example.org/v2/some/long/path"), None);
}

#[test]
fn lines_of_a_settings_file_are_read_one_by_one() {
    let text = "# HF_TOKEN=Gh7kQ2mZx9Lp\nMODEL=some/model\nNGC_API_KEY=Gh7kQ2mZx9LpWv\n";
    let secret = in_lines(text).unwrap();
    assert!(text.get(secret.start..).unwrap().starts_with("NGC_API_KEY"));
    assert_eq!(in_lines("MODEL=some/model\nMAX_TOKENS=123456789\n"), None);
}

#[test]
fn texts_made_of_beginnings_are_searched_in_little_time() {
    for piece in [
        "-----BEGIN X PRIVATE KEY-----",
        "eyJ",
        "://:",
        "sk-",
        "hf_",
        "é",
    ] {
        let text = piece.repeat(4_000_000 / piece.len());
        let started = std::time::Instant::now();
        find(&text);
        in_lines(&text);
        assert!(started.elapsed().as_secs() < 10, "{piece}");
    }
}
