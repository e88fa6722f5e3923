//! The bound on tokens against every spelling that the servers we know read it from.

use super::*;
use crate::profile::{Grantable, Route, Stream, built_in};

/// The bound in these tests.
const MOST: u32 = 4;

/// What a caller says to `route` of llama.cpp under a bound of four tokens, and what comes of it.
fn llama(route: &Route, members: &str) -> Result<String, Refusal> {
    let mut profile = built_in("llama.cpp").unwrap();
    for row in &mut profile.routes {
        // A row that nobody has verified is denied; its members are to be right all the same.
        row.verified_on.get_or_insert_default();
    }
    let mut scene = scene();
    let path = route.template.as_str();
    let classes: Vec<Name> = profile.grantable_classes().cloned().collect();
    scene.stage.profile = profile;
    scene.standing.flows[0].routes.clone_from(&classes);
    scene.standing.flows[0].limits.max_tokens = Some(MOST);
    scene.grant().routes = classes;
    let body = format!(r#"{{"model":"smol@1"{members}}}"#);
    scene.admit_at(path, &body).map(|(_, body)| body)
}

/// Every route that makes text, which is where tokens are to be bounded.
fn answering() -> Vec<Route> {
    let profile = built_in("llama.cpp").unwrap();
    let routes: Vec<Route> = profile
        .routes
        .iter()
        .filter(|route| route.stream == Stream::Sse)
        .filter(|route| profile.grantable(&route.class) == Some(Grantable::ByFlow))
        .cloned()
        .collect();
    assert_eq!(routes.len(), 9);
    routes
}

#[test]
fn every_spelling_of_the_bound_is_bounded_on_every_route_that_answers() {
    for route in answering() {
        let path = route.template.as_str();
        let spellings: &[&str] = match route.class.as_str() {
            "messages" => &["max_tokens"],
            "responses" => &[
                "n_predict",
                "max_completion_tokens",
                "max_tokens",
                "max_output_tokens",
            ],
            _ => &["n_predict", "max_completion_tokens", "max_tokens"],
        };
        for spelling in spellings {
            for over in ["5", "-1", "60"] {
                let said = llama(&route, &format!(r#","{spelling}":{over}"#));
                assert_eq!(said, Err(Refusal::TokensOverLimit), "{path} {spelling}");
            }
            assert!(llama(&route, &format!(r#","{spelling}":4"#)).is_ok());
        }
    }
}

#[test]
fn what_is_written_is_what_the_server_prefers() {
    for route in answering() {
        // The server reads no other name on this one.
        let wins = match route.class.as_str() {
            "messages" => "max_tokens",
            _ => "n_predict",
        };
        let written = format!(r#"{{"{wins}":4,"model":"smol@1"}}"#);
        assert_eq!(llama(&route, ""), Ok(written), "{}", route.template);
    }
}

#[test]
fn a_name_that_the_server_does_not_read_stands_for_no_bound() {
    let mut routes = answering().into_iter();
    let messages = routes.find(|route| route.class.as_str() == "messages");
    for spelling in ["n_predict", "max_completion_tokens"] {
        let said = llama(messages.as_ref().unwrap(), &format!(r#","{spelling}":4"#));
        assert_eq!(said, Err(Refusal::ParameterForbidden), "{spelling}");
    }
}

#[test]
fn the_number_of_answers_has_no_second_name() {
    for route in answering() {
        let path = route.template.as_str();
        for spelling in ["n", "n_cmpl"] {
            let said = llama(&route, &format!(r#","max_tokens":4,"{spelling}":2"#));
            assert!(
                matches!(
                    said,
                    Err(Refusal::TokensOverLimit | Refusal::ParameterForbidden)
                ),
                "{path} {spelling}: {said:?}"
            );
        }
    }
}

#[test]
fn several_prompts_in_one_body_are_refused() {
    let completions = answering()
        .into_iter()
        .filter(|route| route.class.as_str() == "completion");
    for route in completions {
        let said = |prompt: &str| llama(&route, &format!(r#","n_predict":4,"prompt":{prompt}"#));
        for one in [r#""a""#, "[1,2,3]", "[ 1]", "[\n1, \"a\"]", "null"] {
            assert!(said(one).is_ok(), "{} {one}", route.template);
        }
        for several in [
            r#"["a","b"]"#,
            r#"[ "a"]"#,
            "[\r\n\t[1],[2]]",
            "[[1]]",
            r#"[{"prompt_string":"a"}]"#,
            r#"{"prompt_string":"a"}"#,
            "[null]",
            "[]",
            "7",
        ] {
            let path = &route.template;
            assert_eq!(
                said(several),
                Err(Refusal::ParameterForbidden),
                "{path} {several}"
            );
        }
    }
}
