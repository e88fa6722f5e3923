use super::*;

#[test]
fn paths_that_hold_a_management_route_are_wide() {
    for wide in [
        "/",
        "/api",
        "/api/",
        "/a",
        "/api/pull",
        "/api/blobs/",
        "/(.*)",
        "/api/.*",
        "/api(/|$)(.*)",
        "/*",
    ] {
        assert!(covers_management(wide, false), "{wide}");
    }
    assert!(covers_management("/api/(chat|pull)", false));
    assert!(covers_management("/api/pull", true));
    for narrow in ["/api/chat", "/v1/", "/api/(chat|generate)", "/api/embed"] {
        assert!(!covers_management(narrow, false), "{narrow}");
    }
    for exact in ["/", "/api", "/api/chat"] {
        assert!(!covers_management(exact, true), "{exact}");
    }
}
