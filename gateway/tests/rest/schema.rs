//! As much of JSON Schema as the description uses.

use serde_json::{Map, Value};

/// An OpenAPI document.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    /// What a reference leads to, or the value itself.
    #[track_caller]
    pub(crate) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => {
                let found = reference.strip_prefix('#').and_then(|path| self.0.pointer(path));
                found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
        }
    }

    #[track_caller]
    pub(crate) fn assert_that_references_lead_somewhere(&self) {
        let mut rest = vec![&self.0];
        while let Some(value) = rest.pop() {
            self.resolved(value);
            rest.extend(value.as_object().into_iter().flat_map(Map::values));
            rest.extend(value.as_array().into_iter().flatten());
        }
    }

    /// The value is as the schema says, and has no field that the schema does not name.
    #[track_caller]
    pub(crate) fn assert_exactly(&self, schema: &Value, value: &Value, place: &str) {
        assert!(schema.is_object(), "{place} is not described");
        if let Err(reason) = self.check(schema, value) {
            panic!("{place}: {reason} in {value}");
        }
    }

    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolved(schema);
        if let Some(any) = schema["oneOf"].as_array() {
            let failed: Vec<_> = any.iter().filter_map(|schema| self.check(schema, value).err()).collect();
            return if failed.len() + 1 == any.len() { Ok(()) } else { Err(format!("not one of: {failed:?}")) };
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            Value::String(only) => vec![only.as_str()],
            _ => vec!["object"],
        };
        if !types.iter().any(|name| is(name, value)) {
            return Err(format!("{value} is no {types:?}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{value} is none of {words:?}"));
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            return values.iter().try_for_each(|value| self.check(items, value));
        }
        value.as_object().map_or(Ok(()), |fields| self.check_fields(schema, fields))
    }

    fn check_fields(&self, schema: &Value, fields: &Map<String, Value>) -> Result<(), String> {
        let (mut known, mut required) = (Map::new(), Vec::new());
        self.gather(schema, &mut known, &mut required);
        if let Some(name) = required.iter().find(|name| !fields.contains_key(*name)) {
            return Err(format!("{name} is missing"));
        }
        let other = schema.get("additionalProperties");
        // Labels: anybody's names and values.
        if known.is_empty() && other.is_none() {
            return Ok(());
        }
        for (name, value) in fields {
            let schema = known.get(name).or(other).ok_or_else(|| format!("{name} is not described"))?;
            self.check(schema, value).map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(())
    }

    /// The properties of a schema and of those it is put together from.
    fn gather(&self, schema: &Value, known: &mut Map<String, Value>, required: &mut Vec<String>) {
        let schema = self.resolved(schema);
        known.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        let names = schema["required"].as_array().into_iter().flatten();
        required.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, known, required);
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}
