//! How a source is fetched: the part of its file that a fetcher reads.

use std::time::Duration;

use super::{JsonTemplate, Place, Pointer, UrlTemplate};

/// Which fetcher reads a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchKind {
    /// Plain requests.
    Http,
    /// A headless browser.
    Browser,
}

impl FetchKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Http, Self::Browser];

    /// The word of a source file, and the name of its section.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Browser => "browser",
        }
    }

    /// Whether what it answers is the present, whatever day is asked for.
    pub const fn answers_the_present(self) -> bool {
        match self {
            Self::Http | Self::Browser => true,
        }
    }

    /// Whether it needs a browser on the machine.
    pub const fn needs_browser(self) -> bool {
        match self {
            Self::Http => false,
            Self::Browser => true,
        }
    }
}

/// How a source is fetched.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// Plain requests, page by page.
    Http(Box<HttpRecipe>),
    /// A page in a headless browser, of which the answers it fetches itself are read.
    Browser(Box<BrowserRecipe>),
}

impl Recipe {
    /// Which fetcher reads it.
    pub(crate) fn kind(&self) -> FetchKind {
        match self {
            Self::Http(_) => FetchKind::Http,
            Self::Browser(_) => FetchKind::Browser,
        }
    }

    /// What is asked first.
    pub(crate) fn url(&self) -> &UrlTemplate {
        match self {
            Self::Http(recipe) => &recipe.url,
            Self::Browser(recipe) => &recipe.url,
        }
    }

    /// Hosts beside that of its address whose answers are taken.
    pub(crate) fn answering_hosts(&self) -> &[String] {
        match self {
            Self::Http(_) => &[],
            Self::Browser(recipe) => &recipe.response_hosts,
        }
    }

    /// Of plain requests, whose pages are asked for one after the other.
    pub(crate) fn plain(&self) -> Option<&HttpRecipe> {
        match self {
            Self::Http(recipe) => Some(recipe),
            Self::Browser(_) => None,
        }
    }

    /// Where items lie in its documents, if they do.
    pub(crate) fn document(&self) -> Option<&DocumentRecipe> {
        match self {
            Self::Http(_) => None,
            Self::Browser(recipe) => recipe.document.as_ref(),
        }
    }

    /// Whether two keys are two requests.
    pub(crate) fn has_key(&self) -> bool {
        let other = Place { key: "y", ..FIRST };
        match self {
            Self::Http(recipe) => recipe.differs(&other),
            Self::Browser(recipe) => recipe.url.render(&FIRST) != recipe.url.render(&other),
        }
    }
}

impl HttpRecipe {
    /// Whether another page is another request. Where it is not, one is all.
    pub(crate) fn is_paged(&self) -> bool {
        self.differs(&Place { page: 2, start: 2, ..FIRST })
    }

    /// Whether the site is told how many items a page is to have.
    pub(crate) fn is_sized(&self) -> bool {
        self.differs(&Place { size: 2, ..FIRST })
    }

    fn differs(&self, other: &Place<'_>) -> bool {
        let headers = self.headers.iter().map(|(_, value)| value);
        headers.chain([&self.url]).any(|text| text.render(&FIRST) != text.render(other))
            || self.body.as_ref().is_some_and(|body| body.render(&FIRST) != body.render(other))
    }
}

const FIRST: Place<'_> = Place { key: "", page: 1, start: 1, size: 1 };

impl Recipe {
    /// Phrases by which a block page is known.
    pub fn blocked(&self) -> &[String] {
        match self {
            Self::Http(recipe) => &recipe.blocked,
            Self::Browser(recipe) => &recipe.blocked,
        }
    }
}

/// The method of a plain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With a JSON body, or none.
    Post,
}

/// Plain requests, page by page.
#[derive(Clone, Debug)]
pub struct HttpRecipe {
    /// Its method.
    pub method: Method,
    /// Its address.
    pub url: UrlTemplate,
    /// Its headers beside `user-agent`, by lower-case name.
    pub headers: Vec<(String, UrlTemplate)>,
    /// Its JSON body.
    pub body: Option<JsonTemplate>,
    /// Items per page: `{size}`, and how `{start}` grows.
    pub page_size: u64,
    /// What `{page}` is on the first request.
    pub first_page: u64,
    /// Pages per key at most: the end of a site that never says "no more".
    pub max_pages: u64,
    /// Whether a page that is shorter than it was asked to be, or than the longest before it, is the last.
    pub short_page_ends: bool,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How big one answer may be, decompressed.
    pub max_body_bytes: usize,
    /// Phrases by which a block page is known.
    pub blocked: Vec<String>,
}

/// A page in a headless browser.
#[derive(Clone, Debug)]
pub struct BrowserRecipe {
    /// The page's address.
    pub url: UrlTemplate,
    /// Addresses of the answers to take, with `*` for anything. A page whose documents have all its items has none.
    pub response: Option<String>,
    /// Hosts beside the page's own whose answers are taken.
    pub response_hosts: Vec<String>,
    /// What the browser says it reads, as `accept-language` has it.
    pub language: String,
    /// The GraphQL operation the request must carry.
    pub operation: Option<String>,
    /// Phrases by which a block page is known.
    pub blocked: Vec<String>,
    /// A CSS selector that a fully rendered page has.
    pub ready: String,
    /// How long a page may take to be ready.
    pub ready_timeout: Duration,
    /// How often a page that stays half rendered is loaded again.
    pub reloads: u32,
    /// How big one answer may be, decompressed.
    pub max_body_bytes: usize,
    /// Addresses that are not loaded, as URL patterns.
    pub block_urls: Vec<String>,
    /// Items in the documents.
    pub document: Option<DocumentRecipe>,
    /// How the page is made to load more.
    pub more: More,
}

/// How a page is made to load more.
#[derive(Clone, Debug)]
pub enum More {
    /// It is not: what it loads by itself is all.
    Nothing,
    /// By going to its end.
    Scroll {
        /// How long an answer may take; a page that asks for nothing in this time has ended.
        timeout: Duration,
    },
    /// By a button that makes its list longer.
    Button(Box<MoreRecipe>),
    /// By a link or a button that leads to the next part, which takes the place of this one.
    Next(Box<NextRecipe>),
}

/// Items in a document.
#[derive(Clone, Debug)]
pub enum DocumentRecipe {
    /// An Apollo cache in a script.
    Cache(CacheRecipe),
    /// Plain JSON in a script.
    State(StateRecipe),
    /// Linked data (JSON-LD): what is of this type, wherever it lies.
    LinkedData {
        /// A name such as `Review`, without its vocabulary.
        kind: String,
    },
}

/// An Apollo cache: a flat object of entries that refer to each other.
#[derive(Clone, Debug)]
pub struct CacheRecipe {
    /// The variable: `window.<state> = {…}`.
    pub state: String,
    /// The field of `ROOT_QUERY` that holds the list, without its arguments.
    pub field: String,
    /// Where in that field the list lies.
    pub path: Pointer,
    /// The type of an item's cache entries: what is taken when the root query doesn't hold the list.
    pub typename: String,
}

/// Plain JSON in a script.
#[derive(Clone, Debug)]
pub struct StateRecipe {
    /// Which script.
    pub place: StatePlace,
    /// Where in it the list lies.
    pub path: Pointer,
    /// Where it says how many items there are in all.
    pub total: Option<Pointer>,
}

/// Where a document has its JSON.
#[derive(Clone, Debug)]
pub enum StatePlace {
    /// In a variable: `window.<name> = {…}`.
    Variable(String),
    /// As a script of its own, with this `id`: `<script type="application/json" id="…">`.
    Script(String),
}

/// What leads to the next part of a list.
#[derive(Clone, Debug)]
pub struct NextRecipe {
    /// What it is: the first that can be seen and is not disabled. Without one the list has ended.
    pub next: String,
    /// Its text is one of these, blanks trimmed; any, where none is named.
    pub texts: Vec<String>,
    /// How long the next part may take to come.
    pub timeout: Duration,
    /// How long the page may take to come to rest.
    pub settle: Duration,
}

/// The button that loads more.
#[derive(Clone, Debug)]
pub struct MoreRecipe {
    /// The list that grows.
    pub list: String,
    /// Where the button is looked for: the nearest ancestor of the list with this selector. Only what follows the list counts.
    pub within: String,
    /// What a button is.
    pub button: String,
    /// Its text is one of these, blanks trimmed; any, where none is named.
    pub texts: Vec<String>,
    /// Elements that may be removed once their answer was taken.
    pub prune: Option<String>,
    /// How many of the last of them stay.
    pub keep: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long the page may take to draw it.
    pub settle: Duration,
}
