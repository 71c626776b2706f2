//! Files of the Hugging Face Hub: the shared cache and the way to fill it. What the files hold
//! belongs to `source`.

mod announced;
mod endpoint;
mod fetch;
mod file;
mod layout;
mod listing;
mod model;
mod part;
mod transfer;

pub use endpoint::{Hub, HubToken};
pub use file::{HubCopy, HubFile, RepoType};
pub use listing::HubListing;
pub use model::HubModel;
