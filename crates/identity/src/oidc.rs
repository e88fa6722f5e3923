//! Corporate logins (OpenID Connect).
