//! Reads the source files of `pvops-abi`.
//!
//! A structure belongs to the ABI when its layout is asserted; an enumeration when its numbers are explicit. What
//! cannot be understood is an error and never left out in silence.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use pvops_abi::call::Extension;
use pvops_abi::version::AbiVersion;
use syn::parse::{Parse, Parser};
use syn::{Attribute, Expr, Ident, Item, LitInt, Type, Visibility};

use super::evaluate::{Names, evaluate, number};
use super::grammar::{FlagSets, Functions, Layout};
use super::{Abi, Call, Constant, Enumeration, Field, FieldType, Member, Structure, Value, upper_case};
use crate::failure::{Failure, Kind};

/// Files beside the folder `layout`, in the order of the header.
const FILES: [&str; 4] = ["version.rs", "call.rs", "error.rs", "note.rs"];
/// Structures with an asserted layout that are the guest library's and no hypervisor's business.
const LIBRARY_STRUCTURES: [&str; 1] = ["TrapFrame"];

/// Reads the crate whose sources are in `folder`.
pub fn read(folder: &Path) -> Result<Abi, Failure> {
    let mut reader = Reader::default();
    for path in files(folder)? {
        let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let file = syn::parse_file(&text).map_err(|error| refuse(&path, &error.to_string()))?;
        let prefix = if path.ends_with("note.rs") { "NOTE_" } else { "" };
        reader.items(&file.items, prefix).map_err(|what| refuse(&path, &what))?;
    }
    reader.finish().map_err(|what| refuse(folder, &what))
}

fn refuse(path: &Path, what: &str) -> Failure {
    Failure::new(Kind::CheckFailed, format!("{}: {what}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let layout = folder.join("layout");
    let entries = fs::read_dir(&layout).map_err(|error| Failure::file("read", &layout, &error))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    Ok(FILES.iter().map(|file| folder.join(file)).chain(found).collect())
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    abi: Abi,
    names: Names,
    layouts: Vec<Layout>,
    structures: Vec<syn::ItemStruct>,
    /// Constants inside `impl` blocks, with the type.
    associated: Vec<(String, syn::ImplItemConst)>,
    functions: Vec<Functions>,
}

impl Reader {
    fn items(&mut self, items: &[Item], prefix: &str) -> Result<(), String> {
        for item in items {
            match item {
                Item::Const(item) if item.ident != "_" => {
                    let is_public = matches!(item.vis, Visibility::Public(_));
                    self.constant(&item.ident, &item.attrs, &item.expr, is_public.then_some(prefix))?;
                }
                Item::Enum(item) => self.enumeration(item)?,
                Item::Struct(item) => self.structures.push(item.clone()),
                Item::Macro(item) => self.macro_call(&item.mac)?,
                Item::Mod(item) if matches!(item.vis, Visibility::Public(_)) => {
                    let inner = item.content.as_ref().map_or(&[][..], |(_, items)| items);
                    self.items(inner, &format!("{}_", upper_case(&item.ident.to_string())))?;
                }
                Item::Impl(item) if item.trait_.is_none() => {
                    let Type::Path(path) = &*item.self_ty else { continue };
                    let Some(name) = path.path.get_ident() else { continue };
                    let constants = item.items.iter().filter_map(|inner| match inner {
                        syn::ImplItem::Const(inner) => Some((name.to_string(), inner.clone())),
                        _ => None,
                    });
                    self.associated.extend(constants);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers a constant, and shows it if it has a prefix.
    fn constant(
        &mut self,
        name: &Ident,
        attributes: &[Attribute],
        expression: &Expr,
        prefix: Option<&str>,
    ) -> Result<(), String> {
        let value = match version(expression, &self.names) {
            Some(bits) => Some(Value::Number(bits.into())),
            None => evaluate(expression, &self.names),
        };
        let value = value.ok_or_else(|| format!("the value of {name} is not understood"))?;
        self.names.insert(name.to_string(), value.clone());
        if let Some(prefix) = prefix {
            // The version of the ABI has the name of its module in Rust.
            let name = if name == "CURRENT" { "ABI_VERSION".to_owned() } else { format!("{prefix}{name}") };
            self.abi.constants.push(Constant { name, docs: docs(attributes), value });
        }
        Ok(())
    }

    fn enumeration(&mut self, item: &syn::ItemEnum) -> Result<(), String> {
        let name = item.ident.to_string();
        let mut members = Vec::new();
        for variant in &item.variants {
            let value = variant.discriminant.as_ref().and_then(|(_, value)| number(value, &self.names));
            let value = value.ok_or_else(|| format!("{name}::{} has no explicit number", variant.ident))?;
            let shown = match name.as_str() {
                "Extension" => extension(value).ok_or("an extension is not in Extension::ALL")?.name().into(),
                _ => upper_case(&variant.ident.to_string()),
            };
            self.names.insert(format!("{name}::{}", variant.ident), Value::Number(value));
            members.push(Member { name: shown, docs: docs(&variant.attrs), value });
        }
        self.abi.enumerations.push(Enumeration { name, docs: docs(&item.attrs), members });
        Ok(())
    }

    fn macro_call(&mut self, call: &syn::Macro) -> Result<(), String> {
        let Some(name) = call.path.segments.last() else { return Ok(()) };
        let tokens = call.tokens.clone();
        match name.ident.to_string().as_str() {
            "functions" => self.functions.push(parse::<Functions>(tokens)?),
            "assert_layout" => self.layouts.push(parse::<Layout>(tokens)?),
            "bitflags" => self.flags(parse::<FlagSets>(tokens)?)?,
            "macro_rules" => {}
            other => return Err(format!("the macro {other}! is not understood")),
        }
        Ok(())
    }

    fn flags(&mut self, sets: FlagSets) -> Result<(), String> {
        for Functions { attributes, name, members, .. } in sets.0 {
            let members = members.iter().map(|member| {
                let value = number(&member.value, &self.names);
                let value = value.ok_or_else(|| format!("{name}::{} is not understood", member.name))?;
                Ok(Member { name: member.name.to_string(), docs: docs(&member.attributes), value })
            });
            let members = members.collect::<Result<_, String>>()?;
            self.abi.enumerations.push(Enumeration {
                name: name.to_string(),
                docs: docs(&attributes),
                members,
            });
        }
        Ok(())
    }

    /// What needs all files: layouts, calls, constants of types.
    fn finish(mut self) -> Result<Abi, String> {
        for layout in std::mem::take(&mut self.layouts) {
            let name = layout.name.to_string();
            if !LIBRARY_STRUCTURES.contains(&name.as_str()) {
                let item = self.structures.iter().find(|item| item.ident == layout.name);
                let item = item.ok_or_else(|| format!("{name} has a layout and no definition"))?;
                let structure = structure(item, &layout, &self.names)?;
                self.abi.structures.push(structure);
            }
        }
        for (name, constant) in std::mem::take(&mut self.associated) {
            if self.abi.structures.iter().any(|structure| structure.name == name) {
                let prefix = format!("{}_", upper_case(&name));
                self.constant(&constant.ident, &constant.attrs, &constant.expr, Some(&prefix))?;
            }
        }
        for functions in std::mem::take(&mut self.functions) {
            self.calls(&functions)?;
        }
        Ok(self.abi)
    }

    fn calls(&mut self, functions: &Functions) -> Result<(), String> {
        let name = functions.extension.as_ref().ok_or("functions of no extension")?;
        let found = match self.names.get(&format!("Extension::{name}")) {
            Some(Value::Number(value)) => extension(*value),
            _ => None,
        };
        let extension = found.ok_or_else(|| format!("there is no extension {name}"))?;
        for member in &functions.members {
            let value = number(&member.value, &self.names).and_then(|value| u64::try_from(value).ok());
            let function = value.ok_or_else(|| format!("{name}::{} has no number", member.name))?;
            self.abi.calls.push(Call {
                extension: extension.name(),
                function: upper_case(&member.name.to_string()),
                docs: docs(&member.attributes),
                number: (extension as u64) << 16 | function,
            });
        }
        Ok(())
    }
}

/// The extension of this number.
fn extension(number: i128) -> Option<Extension> {
    Extension::ALL.into_iter().find(|extension| *extension as i128 == number)
}

/// `AbiVersion { major: …, minor: … }` as the number that stands for it.
fn version(expression: &Expr, names: &Names) -> Option<u32> {
    let Expr::Struct(literal) = expression else { return None };
    let part = |name: &str| {
        let field = literal
            .fields
            .iter()
            .find(|field| matches!(&field.member, syn::Member::Named(member) if member == name))?;
        u16::try_from(number(&field.expr, names)?).ok()
    };
    Some(AbiVersion { major: part("major")?, minor: part("minor")? }.to_bits())
}

fn structure(item: &syn::ItemStruct, layout: &Layout, names: &Names) -> Result<Structure, String> {
    let name = item.ident.to_string();
    let mut fields: Vec<Field> = Vec::new();
    for field in &item.fields {
        let ident = field.ident.as_ref().ok_or_else(|| format!("{name} has fields without names"))?;
        let found = layout.fields.iter().find(|(other, _)| other == ident);
        let (_, offset) = found.ok_or_else(|| format!("the offset of {name}.{ident} is not asserted"))?;
        let kind = field_type(&field.ty, names)
            .ok_or_else(|| format!("the type of {name}.{ident} is not understood"))?;
        fields.push(Field { name: ident.to_string(), docs: docs(&field.attrs), kind, offset: *offset });
    }
    let alignment =
        item.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")).find_map(|attribute| {
            let mut found = None;
            _ = attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("align") {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    found = content.parse::<LitInt>()?.base10_parse().ok();
                }
                Ok(())
            });
            found
        });
    Ok(Structure { name, docs: docs(&item.attrs), bytes: layout.bytes, alignment, fields })
}

fn field_type(kind: &Type, names: &Names) -> Option<FieldType> {
    match kind {
        Type::Array(array) => {
            let count = u64::try_from(number(&array.len, names)?).ok()?;
            Some(FieldType::Array(Box::new(field_type(&array.elem, names)?), count))
        }
        Type::Path(path) => {
            let name = path.path.segments.last()?.ident.to_string();
            Some(match name.as_str() {
                "u8" | "AtomicU8" => FieldType::Integer("u8"),
                "u16" | "AtomicU16" => FieldType::Integer("u16"),
                "u32" | "AtomicU32" => FieldType::Integer("u32"),
                "u64" | "AtomicU64" => FieldType::Integer("u64"),
                "i64" => FieldType::Integer("i64"),
                _ => FieldType::Structure(name),
            })
        }
        _ => None,
    }
}

/// The lines of a documentation comment.
fn docs(attributes: &[Attribute]) -> Vec<String> {
    let lines =
        attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
            let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
            let Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
            Some(text.value().trim().to_owned())
        });
    lines.collect()
}

fn parse<T: Parse>(tokens: TokenStream) -> Result<T, String> {
    T::parse.parse2(tokens).map_err(|error| error.to_string())
}
