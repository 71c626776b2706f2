//! A machine for the pickles of state dictionaries: containers, plain values and tensors.
//!
//! Opcodes: Python's `pickletools.py`, protocols 2 to 5. It runs no code: the only callables are
//! those by which PyTorch puts tensors together, and every other name is refused. Values that no
//! tensor depends on are kept as [`Value::Opaque`]. All compound values live in vectors and refer
//! to each other by position, so that no nesting is too deep to be dropped.

use std::{collections::HashMap, path::Path};

use crate::{Dtype, FormatError, cursor::Cursor};

/// Most opcodes that are carried out, each of which takes a bounded amount of memory; a tensor takes
/// about 27.
const MAX_STEPS: usize = 4_000_000;
/// Most tensors that are put together.
const MAX_TENSORS: usize = 100_000;
/// Most axes of a tensor; weights have four at most.
const MAX_AXES: usize = 16;
/// Deepest nesting of dictionaries in which tensors are looked for.
const MAX_DEPTH: usize = 16;
/// Most dictionary entries that are looked at, since a few bytes can refer to one dictionary often.
const MAX_ENTRIES: usize = 200_000;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;

/// A tensor as the pickle describes it.
#[derive(Debug, Clone)]
pub(super) struct TensorRecord<'a> {
    pub(super) dtype: Dtype,
    /// The storage's name in the archive.
    pub(super) key: &'a str,
    /// First element in the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// Elements from one index to the next, of each axis.
    pub(super) strides: Vec<u64>,
}

/// Reads the pickle `bytes` and returns all tensors in its nested dictionaries, their keys joined
/// by dots; `path` is for messages.
pub(super) fn read_tensors<'a>(
    path: &'a Path,
    bytes: &'a [u8],
) -> Result<Vec<(String, TensorRecord<'a>)>, FormatError> {
    let mut machine = Machine {
        cursor: Cursor::new(path, bytes),
        stack: Vec::new(),
        memo: HashMap::new(),
        tuples: Vec::new(),
        dicts: Vec::new(),
        storages: Vec::new(),
        tensors: Vec::new(),
    };
    let Value::Dict(root) = machine.run()? else {
        return Err(machine.fault("the pickle holds no dictionary of tensors"));
    };
    machine.collect(root)
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    /// What no tensor depends on: floats, bytes, lists, big numbers.
    Opaque,
    Mark,
    Int(i64),
    Text(&'a str),
    /// Positions in the machine's vectors.
    Tuple(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    Callable(Callable),
}

#[derive(Debug, Clone, Copy)]
enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// Gives a value that no tensor depends on.
    Inert,
    /// A storage class, not called but named in storages.
    Storage(Dtype),
}

struct Machine<'a> {
    cursor: Cursor<'a>,
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<(Dtype, &'a str)>,
    tensors: Vec<TensorRecord<'a>>,
}

impl<'a> Machine<'a> {
    fn fault(&self, text: impl std::fmt::Display) -> FormatError {
        self.cursor.fault(format!("pickle: {text}"))
    }

    /// Carries out opcodes up to STOP and returns the value on top.
    fn run(&mut self) -> Result<Value<'a>, FormatError> {
        for _ in 0..MAX_STEPS {
            let opcode = self.cursor.u8()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(self.fault(format!("more than {MAX_STEPS} steps")))
    }

    fn step(&mut self, opcode: u8) -> Result<(), FormatError> {
        match opcode {
            0x80 => drop(self.cursor.u8()?),  // PROTO
            0x95 => drop(self.cursor.u64()?), // FRAME
            b'(' => self.stack.push(Value::Mark),
            // a adds to a list; b sets attributes, as a state dictionary's versions
            b'0' | b'a' | b'b' => drop(self.pop()?),
            b'1' | b'e' => drop(self.pop_to_mark()?), // e adds to a list
            b')' => self.push_tuple(Vec::new()),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items);
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push_tuple(items);
            }
            // an empty list, None, True, False
            b']' | b'N' | 0x88 | 0x89 => self.stack.push(Value::Opaque),
            b'}' => self.push_dict(),
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            b'J' => {
                let x = i32::from_le_bytes(self.cursor.array()?);
                self.stack.push(Value::Int(x.into()));
            }
            b'K' => {
                let x = self.cursor.u8()?;
                self.stack.push(Value::Int(x.into()));
            }
            b'M' => {
                let x = u16::from_le_bytes(self.cursor.array()?);
                self.stack.push(Value::Int(x.into()));
            }
            0x8a => self.push_long()?,
            b'G' => {
                self.cursor.take(8)?;
                self.stack.push(Value::Opaque);
            }
            b'X' => {
                let length = self.cursor.u32()?;
                self.push_text(length.into())?;
            }
            0x8c => {
                let length = self.cursor.u8()?;
                self.push_text(length.into())?;
            }
            b'B' | b'T' => {
                let length = self.cursor.u32()?;
                self.push_bytes(length)?;
            }
            b'C' | b'U' => {
                let length = self.cursor.u8()?;
                self.push_bytes(length.into())?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_callable(module, name)?;
            }
            0x93 => match self.pop_many(2)?[..] {
                [Value::Text(module), Value::Text(name)] => self.push_callable(module, name)?,
                _ => return Err(self.fault("a name is no text")),
            },
            b'R' => self.reduce()?,
            b'q' => {
                let slot = self.cursor.u8()?;
                self.remember(slot.into())?;
            }
            b'r' => {
                let slot = self.cursor.u32()?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let slot = self.cursor.u8()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = self.cursor.u32()?;
                self.recall(slot)?;
            }
            b'Q' => self.push_storage()?,
            _ => return Err(self.fault(format!("opcode {opcode:#04x} is not supported"))),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err(self.fault("a value is missing")),
            Some(value) => Ok(value),
        }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, FormatError> {
        let start = self.stack.len().checked_sub(count);
        let start = start.ok_or_else(|| self.fault("a value is missing"))?;
        Ok(self.stack.split_off(start))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.stack.iter().rposition(|v| matches!(v, Value::Mark));
        let mark = mark.ok_or_else(|| self.fault("a mark is missing"))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) {
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(items);
    }

    fn push_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    /// Adds keys and values, one after the other, to the dictionary on top.
    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), FormatError> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.stack.last() {
            Some(Value::Dict(dict)) if rest.is_empty() => {
                self.dicts[*dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(self.fault("items without a dictionary")),
        }
    }

    /// LONG1: a number of up to 255 bytes; those beyond 64 bits are sizes of nothing.
    fn push_long(&mut self) -> Result<(), FormatError> {
        let length = self.cursor.u8()?;
        let bytes = self.cursor.take(length.into())?;
        let value = if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Opaque
        };
        self.stack.push(value);
        Ok(())
    }

    fn push_text(&mut self, length: u64) -> Result<(), FormatError> {
        let bytes = self.cursor.take(length)?;
        // Python writes lone surrogates, which are not UTF-8; no tensor is named so.
        let text = std::str::from_utf8(bytes).map_or(Value::Opaque, Value::Text);
        self.stack.push(text);
        Ok(())
    }

    fn push_bytes(&mut self, length: u32) -> Result<(), FormatError> {
        self.cursor.take(length.into())?;
        self.stack.push(Value::Opaque);
        Ok(())
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, FormatError> {
        let line = self.cursor.line()?;
        std::str::from_utf8(line).map_err(|_| self.fault("a name is not UTF-8"))
    }

    fn push_callable(&mut self, module: &str, name: &str) -> Result<(), FormatError> {
        let callable = match (module, name) {
            ("collections", "OrderedDict") => Callable::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Callable::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Callable::RebuildParameter,
            ("_codecs", "encode")
            | ("torch", "Size" | "device" | "float64" | "float32" | "float16" | "bfloat16") => {
                Callable::Inert
            }
            ("torch", "FloatStorage") => Callable::Storage(Dtype::F32),
            ("torch", "DoubleStorage") => Callable::Storage(Dtype::F64),
            ("torch", "HalfStorage") => Callable::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Callable::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Callable::Storage(Dtype::I64),
            ("torch", "IntStorage") => Callable::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Callable::Storage(Dtype::I16),
            ("torch", "CharStorage") => Callable::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Callable::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Callable::Storage(Dtype::Bool),
            _ => {
                let shown: String = format!("{module}.{name}").chars().take(80).collect();
                return Err(self.fault(format!(
                    "it refers to `{shown}`, which is not needed for tensors and never run; save \
                     the state dictionary alone, as safetensors"
                )));
            }
        };
        self.stack.push(Value::Callable(callable));
        Ok(())
    }

    /// REDUCE: calls the callable below the arguments on top.
    fn reduce(&mut self) -> Result<(), FormatError> {
        let called = self.pop_many(2)?;
        let [Value::Callable(callable), Value::Tuple(arguments)] = called[..] else {
            return Err(self.fault("a call of what is no function"));
        };
        match callable {
            Callable::OrderedDict if self.tuples[arguments].is_empty() => self.push_dict(),
            Callable::Inert => self.stack.push(Value::Opaque),
            Callable::RebuildTensor if self.tensors.len() == MAX_TENSORS => {
                return Err(self.fault(format!("more than {MAX_TENSORS} tensors")));
            }
            Callable::RebuildTensor => {
                let tensor = self.rebuild(arguments)?;
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(tensor);
            }
            Callable::RebuildParameter => match self.tuples[arguments].first() {
                Some(tensor @ Value::Tensor(_)) => self.stack.push(*tensor),
                _ => return Err(self.fault("a parameter without a tensor")),
            },
            Callable::OrderedDict | Callable::Storage(_) => {
                return Err(self.fault("a call with unknown arguments"));
            }
        }
        Ok(())
    }

    /// A tensor from `(storage, offset, shape, strides, ...)`.
    fn rebuild(&self, arguments: usize) -> Result<TensorRecord<'a>, FormatError> {
        let [
            Value::Storage(storage),
            Value::Int(offset),
            Value::Tuple(shape),
            Value::Tuple(strides),
            ..,
        ] = self.tuples[arguments][..]
        else {
            return Err(self.fault("a tensor with unknown arguments"));
        };
        let (dtype, key) = self.storages[storage];
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let Ok(offset) = u64::try_from(offset) else {
            return Err(self.fault("a tensor with a negative offset"));
        };
        if shape.len() != strides.len() {
            return Err(self.fault("a tensor with more axes than strides"));
        }
        Ok(TensorRecord {
            dtype,
            key,
            offset,
            shape,
            strides,
        })
    }

    fn sizes(&self, tuple: usize) -> Result<Vec<u64>, FormatError> {
        let items = &self.tuples[tuple];
        if items.len() > MAX_AXES {
            return Err(self.fault(format!("a tensor with more than {MAX_AXES} axes")));
        }
        let size = |item: &Value<'_>| match item {
            Value::Int(size) => u64::try_from(*size).ok(),
            _ => None,
        };
        let sizes = items.iter().map(size).collect::<Option<_>>();
        sizes.ok_or_else(|| self.fault("a size that is no number from 0"))
    }

    /// BINPERSID: a storage from `("storage", class, key, device, elements)`.
    fn push_storage(&mut self) -> Result<(), FormatError> {
        let Value::Tuple(arguments) = self.pop()? else {
            return Err(self.fault("a storage without a description"));
        };
        let [
            Value::Text("storage"),
            Value::Callable(Callable::Storage(dtype)),
            Value::Text(key),
            ..,
        ] = self.tuples[arguments][..]
        else {
            return Err(self.fault("a storage with an unknown description"));
        };
        self.stack.push(Value::Storage(self.storages.len()));
        self.storages.push((dtype, key));
        Ok(())
    }

    fn remember(&mut self, slot: u32) -> Result<(), FormatError> {
        let top = self.stack.last().copied();
        let top = top.ok_or_else(|| self.fault("a value is missing"))?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), FormatError> {
        let value = self.memo.get(&slot).copied();
        let value = value.ok_or_else(|| self.fault(format!("slot {slot} is empty")))?;
        self.stack.push(value);
        Ok(())
    }

    /// All tensors below the dictionary `root`, by their joined keys; a repeated key's last value
    /// counts, as in Python.
    fn collect(&self, root: usize) -> Result<Vec<(String, TensorRecord<'a>)>, FormatError> {
        let mut found = Vec::new();
        let mut pending = vec![(String::new(), root, 1)];
        let mut entries = 0;
        while let Some((prefix, dict, depth)) = pending.pop() {
            for (key, value) in &self.dicts[dict] {
                entries += 1;
                if entries > MAX_ENTRIES || depth > MAX_DEPTH {
                    return Err(self.fault("dictionaries too many or too deep"));
                }
                if !matches!(value, Value::Tensor(_) | Value::Dict(_)) {
                    continue;
                }
                let name = match key {
                    Value::Text(text) if prefix.len() + text.len() < MAX_NAME => {
                        format!("{prefix}{text}")
                    }
                    Value::Int(number) => format!("{prefix}{number}"),
                    _ => return Err(self.fault("a tensor's name is too long or no text")),
                };
                match value {
                    Value::Tensor(tensor) => found.push((name, self.tensors[*tensor].clone())),
                    Value::Dict(inner) => pending.push((name + ".", *inner, depth + 1)),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}
