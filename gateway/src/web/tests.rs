use axum::body::to_bytes;

use super::*;

const HASH: [u8; 32] = [0xab; 32];
const TAG: &str = "\"abababababababababababababababab\"";

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

fn header_of(response: &Response, name: header::HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn knowing(tags: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::try_from(tags).unwrap())])
}

fn script(asked: &HeaderMap) -> Response {
    kept("index-Ab12.js", Cow::Borrowed(b"let x"), &HASH, asked)
}

#[tokio::test]
async fn a_gateway_without_the_playground_says_how_to_build_it() {
    let response = page(None);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
    let page = text(response).await;
    assert!(page.contains("make build-web") && page.contains("POST"), "{page}");
    // The policy under which it is shown allows none.
    assert!(!page.contains("<script") && !page.contains("http"), "{page}");
}

#[tokio::test]
async fn the_page_is_asked_for_each_time() {
    let response = page(Some(Cow::Borrowed(b"<title>Nexus</title>")));
    assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-cache");
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(text(response).await, "<title>Nexus</title>");
}

#[tokio::test]
async fn a_file_may_be_kept_for_ever() {
    let response = script(&HeaderMap::new());
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    assert_eq!(header_of(&response, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(header_of(&response, header::ETAG), TAG);
    assert_eq!(text(response).await, "let x");
}

#[tokio::test]
async fn a_file_that_the_client_has_is_not_sent_again() {
    for known in [TAG.to_owned(), format!("W/{TAG}"), format!("\"other\", {TAG}"), "*".to_owned()] {
        let response = script(&knowing(&known));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(header_of(&response, header::ETAG), TAG);
        assert_eq!(text(response).await, "");
    }
    assert_eq!(script(&knowing("\"other\"")).status(), StatusCode::OK);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_a_problem_as_elsewhere() {
    for path in ["nothing.js", "../index.html", "../../package.json", "/etc/passwd", ""] {
        let response = asset(Tail(path.to_owned()), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.extensions().get::<Problem>().is_some(), "{path}");
    }
}

/// Where the playground was built, the page names files of ours only, and each is served.
#[tokio::test]
async fn the_page_names_files_that_are_served() {
    let page = text(playground()).await;
    let named: Vec<&str> = page.split(['"', '\'']).filter(|part| part.contains("/assets/")).collect();
    assert_eq!(named.is_empty(), Built::iter().next().is_none(), "{page}");
    for path in named {
        let name = path.strip_prefix("/graphql/assets/").unwrap_or_else(|| panic!("{path} is not served"));
        assert_eq!(asset(Tail(name.to_owned()), HeaderMap::new()).await.status(), StatusCode::OK, "{path}");
    }
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("\"//"), "{page}");
}

#[test]
fn everything_that_is_built_has_a_type() {
    for name in Built::iter() {
        assert_ne!(content_type(&name), "application/octet-stream", "{name}");
    }
}
