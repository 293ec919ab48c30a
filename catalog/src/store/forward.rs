//! What a wrapper leaves to the store inside it: `forward!(get_ranges, list)` in its `impl ObjectStore` hands these calls to
//! `self.inner`.
//!
//! A wrapper names every method, here or with code of its own (`clippy::missing_trait_methods` sees to it): one that the trait fills
//! in by itself would go around what the wrapper is for.

/// The named methods of [`ObjectStore`](object_store::ObjectStore). Those that return a future are written as `async_trait` would
/// write them, since it does not look into macros; the future is the inner store's own.
macro_rules! forward {
    ($($method:ident),+ $(,)?) => { $(forward! { @ $method })+ };
    (@ put_opts) => { forward! { @later put_opts<'l>(
        at: &'l object_store::path::Path, payload: object_store::PutPayload, options: object_store::PutOptions,
    ) -> object_store::PutResult } };
    (@ put_multipart_opts) => { forward! { @later put_multipart_opts<'l>(
        at: &'l object_store::path::Path, options: object_store::PutMultipartOptions,
    ) -> Box<dyn object_store::MultipartUpload> } };
    (@ get_opts) => { forward! { @later get_opts<'l>(
        at: &'l object_store::path::Path, options: object_store::GetOptions,
    ) -> object_store::GetResult } };
    (@ get_ranges) => { forward! { @later get_ranges<'l, 'r>(
        at: &'l object_store::path::Path, ranges: &'r [std::ops::Range<u64>],
    ) -> Vec<bytes::Bytes> } };
    (@ list_with_delimiter) => { forward! { @later list_with_delimiter<'l>(
        prefix: Option<&'l object_store::path::Path>,
    ) -> object_store::ListResult } };
    (@ copy_opts) => { forward! { @later copy_opts<'f, 't>(
        from: &'f object_store::path::Path, to: &'t object_store::path::Path, options: object_store::CopyOptions,
    ) -> () } };
    (@ rename_opts) => { forward! { @later rename_opts<'f, 't>(
        from: &'f object_store::path::Path, to: &'t object_store::path::Path, options: object_store::RenameOptions,
    ) -> () } };
    (@ delete_stream) => { forward! { @now delete_stream(
        paths: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> object_store::path::Path } };
    (@ list) => { forward! { @now list(
        prefix: Option<&object_store::path::Path>,
    ) -> object_store::ObjectMeta } };
    (@ list_with_offset) => { forward! { @now list_with_offset(
        prefix: Option<&object_store::path::Path>, offset: &object_store::path::Path,
    ) -> object_store::ObjectMeta } };
    (@later $method:ident<$($life:lifetime),*>($($argument:ident: $kind:ty),* $(,)?) -> $answer:ty) => {
        fn $method<'s, $($life,)* 'async_trait>(
            &'s self,
            $($argument: $kind),*
        ) -> futures::future::BoxFuture<'async_trait, object_store::Result<$answer>>
        where
            's: 'async_trait,
            $($life: 'async_trait,)*
            Self: 'async_trait,
        {
            self.inner.$method($($argument),*)
        }
    };
    (@now $method:ident($($argument:ident: $kind:ty),* $(,)?) -> $item:ty) => {
        fn $method(
            &self,
            $($argument: $kind),*
        ) -> futures::stream::BoxStream<'static, object_store::Result<$item>> {
            self.inner.$method($($argument),*)
        }
    };
}

pub(super) use forward;
