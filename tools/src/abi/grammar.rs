//! What stands inside the macros of `pvops-abi`: layouts, functions, flags.

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, Ident, LitInt, Token, Type, Visibility, braced};

/// `assert_layout!(Name, bytes, { field: offset, … })`.
pub struct Layout {
    /// Of what.
    pub name: Ident,
    /// Size.
    pub bytes: u64,
    /// Fields with their offsets.
    pub fields: Vec<(Ident, u64)>,
}

impl Parse for Layout {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![,]>()?;
        let bytes = input.parse::<LitInt>()?.base10_parse()?;
        input.parse::<Token![,]>()?;
        let content;
        braced!(content in input);
        let field = |input: ParseStream<'_>| {
            let name = input.parse()?;
            input.parse::<Token![:]>()?;
            Ok((name, input.parse::<LitInt>()?.base10_parse()?))
        };
        let fields = content.parse_terminated(field, Token![,])?;
        Ok(Self { name, bytes, fields: fields.into_iter().collect() })
    }
}

/// `Name of Extension { Function = number, … }`; also a set of flags, which has no extension.
pub struct Functions {
    /// Its comment.
    pub attributes: Vec<Attribute>,
    /// Name of the enumeration or set.
    pub name: Ident,
    /// The extension that the functions belong to.
    pub extension: Option<Ident>,
    /// What is in it.
    pub members: Vec<Numbered>,
}

/// A name with a number.
pub struct Numbered {
    /// Its comment.
    pub attributes: Vec<Attribute>,
    /// Name.
    pub name: Ident,
    /// Number.
    pub value: Expr,
}

impl Parse for Functions {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let name = input.parse()?;
        input.parse::<Ident>()?;
        let extension = Some(input.parse()?);
        let content;
        braced!(content in input);
        let member = |input: ParseStream<'_>| {
            let attributes = input.call(Attribute::parse_outer)?;
            let name = input.parse()?;
            input.parse::<Token![=]>()?;
            Ok(Numbered { attributes, name, value: input.parse()? })
        };
        let members = content.parse_terminated(member, Token![,])?;
        Ok(Self { attributes, name, extension, members: members.into_iter().collect() })
    }
}

/// The contents of `bitflags!`: `pub struct Name: u64 { const FLAG = value; … }`, repeated.
pub struct FlagSets(pub Vec<Functions>);

impl Parse for FlagSets {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut sets = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            input.parse::<Visibility>()?;
            input.parse::<Token![struct]>()?;
            let name = input.parse()?;
            input.parse::<Token![:]>()?;
            input.parse::<Type>()?;
            let content;
            braced!(content in input);
            let mut members = Vec::new();
            while !content.is_empty() {
                let attributes = content.call(Attribute::parse_outer)?;
                content.parse::<Token![const]>()?;
                let name = content.parse()?;
                content.parse::<Token![=]>()?;
                members.push(Numbered { attributes, name, value: content.parse()? });
                content.parse::<Token![;]>()?;
            }
            sets.push(Functions { attributes, name, extension: None, members });
        }
        Ok(Self(sets))
    }
}
