//! The API's description, from the types and handlers themselves.

use casemate_api::v1;
use utoipa::OpenApi;

use super::handlers;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "casemated",
        description = "The API of one node, over its Unix socket. Root or the node's group only.",
    ),
    paths(
        handlers::status,
        handlers::up,
        handlers::down,
        handlers::probe,
        handlers::receipts,
        handlers::receipt_key,
        handlers::events,
        handlers::logs,
        handlers::trust,
        handlers::revoke,
        handlers::leftovers,
        handlers::openapi,
    ),
    components(schemas(v1::ApiError, v1::UpLine, v1::ProbeLine))
)]
struct Description;

/// The description, ready to be written as JSON.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_resource_is_described() {
        let document = serde_json::to_value(super::document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/v1/status",
            "/v1/enclosures",
            "/v1/enclosures/{name}",
            "/v1/probe",
            "/v1/receipts",
            "/v1/receipt-key",
            "/v1/events",
            "/v1/logs/{enclosure}/{stage}",
            "/v1/trust",
            "/v1/revoke",
            "/v1/leftovers",
            "/openapi.json",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
    }
}
