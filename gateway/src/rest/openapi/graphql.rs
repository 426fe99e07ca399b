//! GraphQL as an OpenAPI client sees it: where a query goes and what comes back. What a query may hold GraphQL's own schema
//! says.

use serde_json::{Value, json};

/// Where it is.
pub(super) const PATH: &str = "/graphql";

const QUERY: &str = "{ clusters { cluster_id cluster_name status } }";

/// Asking by GET and by POST.
pub(super) fn operations() -> Value {
    let text = json!({"type": "string", "minLength": 1, "pattern": r"\S"});
    let question = json!({
        "type": "object",
        "required": ["query"],
        "properties": {
            "query": text,
            "operationName": {"type": ["string", "null"]},
            "variables": {"type": ["object", "null"]},
        },
        "example": {"query": QUERY},
    });
    json!({
        "get": {
            "tags": ["graphql"],
            "operationId": "graphql_get",
            "summary": "Answers a GraphQL query; to a browser without one, the playground.",
            "description": "`operationName` and, as JSON, `variables` go beside the query, too.",
            "parameters": [{
                "name": "query", "in": "query", "required": true, "description": "The query.", "schema": text, "example": QUERY,
            }],
            "responses": responses(),
        },
        "post": {
            "tags": ["graphql"],
            "operationId": "graphql",
            "summary": "Answers a GraphQL query, or does what a mutation says.",
            "requestBody": {"required": true, "content": {"application/json": {"schema": question}}},
            "responses": {
                "415": {"description": "The query is not sent as application/json.", "content": content()},
                "200": responses()["200"],
                "400": responses()["400"],
            },
        },
    })
}

/// The schema of what comes back.
pub(super) fn answer() -> Value {
    json!({
        "type": "object",
        "description": "What GraphQL's specification calls a response: without `data` nothing was answered.",
        "properties": {
            "data": {"type": ["object", "null"]},
            "errors": {"type": "array", "items": {
                "type": "object",
                "required": ["message", "extensions"],
                "properties": {
                    "message": {"type": "string", "description": "What happened, and what would work."},
                    "locations": {"type": "array", "items": {"type": "object"}},
                    "path": {"type": "array"},
                    "extensions": {"type": "object", "required": ["code", "request_id"], "properties": {
                        "code": {"type": "string", "description": "What a program tells errors apart by.", "example": "INVALID_REQUEST"},
                        "request_id": {"type": "string", "description": "By which the log has it: `x-request-id`."},
                    }},
                },
            }},
        },
    })
}

fn responses() -> Value {
    json!({
        "200": {"description": "The answer, also one that holds errors.", "content": content()},
        "400": {
            "description": "There is no query in the request; or, to who accepts application/graphql-response+json, nothing \
                            of it was answered.",
            "content": content(),
        },
    })
}

fn content() -> Value {
    let schema = json!({"schema": {"$ref": "#/components/schemas/GraphqlAnswer"}});
    json!({"application/json": schema, "application/graphql-response+json": schema})
}
