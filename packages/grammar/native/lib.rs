//! llguidance behind a C interface, for WebAssembly without generated glue. It knows tokens as bytes, and no model.
//!
//! One memory is shared by the thread of the engine and by workers: what takes long runs on a worker and its result is
//! there for the engine at once. A matcher, and all that came of the same `compile`, belongs to one thread at a time.
//! A panic traps; its words are then in `said` of the thread it happened on.
use llguidance::api::{GrammarInit, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Logger, Matcher, ParserFactory};
use std::cell::RefCell;
use std::sync::Arc;

mod heap;

thread_local! {
    static SAID: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn say(text: &[u8]) {
    SAID.with_borrow_mut(|said| {
        said.clear();
        said.extend_from_slice(text);
    });
}

/// Says why and gives `otherwise`.
fn refuse<T>(reason: impl std::fmt::Display, otherwise: T) -> T {
    say(reason.to_string().as_bytes());
    otherwise
}

/// What this thread said last: a reason, warnings or bytes. Valid until its next call.
#[no_mangle]
pub extern "C" fn said_ptr() -> *const u8 {
    SAID.with_borrow(|said| said.as_ptr())
}
#[no_mangle]
pub extern "C" fn said_len() -> usize {
    SAID.with_borrow(|said| said.len())
}

/// Once, before anything else.
#[no_mangle]
pub extern "C" fn start() {
    std::panic::set_hook(Box::new(|info| say(info.to_string().as_bytes())));
}

#[no_mangle]
pub extern "C" fn take(len: usize) -> *mut u8 {
    unsafe { std::alloc::alloc(layout(len)) }
}
#[no_mangle]
pub unsafe extern "C" fn give(p: *mut u8, len: usize) {
    std::alloc::dealloc(p, layout(len));
}
/// Aligned for stacks and the storage of threads.
fn layout(len: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(len.max(1), 16).unwrap()
}

#[link(wasm_import_module = "env")]
extern "C" {
    /// Tokens of a text as the model's tokenizer makes them; writes at most `room` of them and says how many there are.
    fn encode(text: *const u8, len: usize, out: *mut u32, room: usize) -> usize;
}

/// Tokens of bytes that must come are those that the tokenizer gives, so that they may be read without being drawn.
struct Canonical(TokTrie);

impl TokenizerEnv for Canonical {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.0.tokenize_with_greedy_fallback(bytes, |text| {
            let mut ids = vec![0u32; text.len() + 1];
            let count = unsafe { encode(text.as_ptr(), text.len(), ids.as_mut_ptr(), ids.len()) };
            ids.truncate(count);
            ids
        })
    }
}

pub struct Vocabulary {
    factory: ParserFactory,
    words: usize,
}

/// Tokens that must come are told; none is ever taken back.
fn capabilities() -> InferenceCapabilities {
    InferenceCapabilities { ff_tokens: true, conditional_ff_tokens: false, backtrack: false, fork: false }
}

/// `texts` holds all tokens one after another, `lens` their lengths. Those of control tokens begin with 0xFF, which no text has.
#[no_mangle]
pub unsafe extern "C" fn vocabulary(texts: *const u8, lens: *const u32, count: usize, stops: *const u32, n_stops: usize) -> *mut Vocabulary {
    let lens = std::slice::from_raw_parts(lens, count);
    let stops = std::slice::from_raw_parts(stops, n_stops);
    let mut at = 0;
    let words: Vec<Vec<u8>> = lens
        .iter()
        .map(|&len| {
            let word = std::slice::from_raw_parts(texts.add(at), len as usize).to_vec();
            at += len as usize;
            word
        })
        .collect();
    let trie = TokTrie::from(&TokRxInfo::new(count as u32, stops[0]), &words).with_eos_tokens(stops);
    let env: TokEnv = Arc::new(Canonical(trie));
    match ParserFactory::new(&env, capabilities(), &SlicedBiasComputer::general_slices()) {
        Ok(mut factory) => {
            factory.quiet();
            factory.limits_mut().verbose_errors = false;
            Box::into_raw(Box::new(Vocabulary { factory, words: count.div_ceil(32) }))
        }
        Err(reason) => refuse(format!("{reason:#}"), std::ptr::null_mut()),
    }
}

/// Of a grammar in Lark. `fuel` bounds the work of a mask. Null where it's refused; `said` has the reason, or what the library warns of.
#[no_mangle]
pub unsafe extern "C" fn compile(v: *const Vocabulary, text: *const u8, len: usize, fuel: u32) -> *mut Matcher {
    let bytes = std::slice::from_raw_parts(text, len);
    let grammar = match std::str::from_utf8(bytes) {
        Ok(text) => TopLevelGrammar::from_lark(text.to_string()),
        Err(reason) => return refuse(reason, std::ptr::null_mut()),
    };
    let factory = &(*v).factory;
    let mut limits = factory.limits().clone();
    limits.step_lexer_fuel = fuel as u64;
    // So many items of the parser take about as long.
    limits.step_max_items = fuel as usize / 20;
    let parser = factory.create_parser_from_init_ext(GrammarInit::Serialized(grammar), Logger::new(0, 0), capabilities(), limits);
    let mut matcher = match parser {
        Ok(parser) => Matcher::new(Ok(parser)),
        Err(reason) => return refuse(format!("{reason:#}"), std::ptr::null_mut()),
    };
    if let Some(reason) = matcher.get_error() {
        return refuse(reason, std::ptr::null_mut());
    }
    say(matcher.grammar_warnings().join("\n").as_bytes());
    Box::into_raw(Box::new(matcher))
}

/// A second answer of the same grammar, from where this one is; what has been learned about its lexemes is shared.
#[no_mangle]
pub unsafe extern "C" fn again(m: *const Matcher) -> *mut Matcher {
    Box::into_raw(Box::new((*m).clone()))
}
#[no_mangle]
pub unsafe extern "C" fn free(m: *mut Matcher) {
    drop(Box::from_raw(m));
}

/// -1 with the reason in `said`: this matcher is at its end then.
fn done<T>(result: anyhow::Result<T>, map: impl FnOnce(T) -> i32) -> i32 {
    match result {
        Ok(value) => map(value),
        Err(reason) => refuse(reason, -1),
    }
}

/// Writes a bit for each token that may come next; where only one text can, for its first token alone.
#[no_mangle]
pub unsafe extern "C" fn mask(v: *const Vocabulary, m: *mut Matcher, out: *mut u32) -> i32 {
    done((*m).compute_mask_or_eos(), |bits| {
        let bits = bits.as_slice();
        let words = (*v).words.min(bits.len());
        std::ptr::copy_nonoverlapping(bits.as_ptr(), out, words);
        std::ptr::write_bytes(out.add(words), 0, (*v).words - words);
        0
    })
}

/// Moves on as far as these tokens fit, and says how many did.
#[no_mangle]
pub unsafe extern "C" fn consume(m: *mut Matcher, ids: *const u32, count: usize) -> i32 {
    done((*m).try_consume_tokens(std::slice::from_raw_parts(ids, count)), |n| n as i32)
}
#[no_mangle]
pub unsafe extern "C" fn rollback(m: *mut Matcher, count: usize) -> i32 {
    done((*m).rollback(count), |_| 0)
}
#[no_mangle]
pub unsafe extern "C" fn is_stopped(m: *const Matcher) -> i32 {
    (*m).is_stopped() as i32
}
#[no_mangle]
pub unsafe extern "C" fn is_accepting(m: *mut Matcher) -> i32 {
    done((*m).is_accepting(), |is| is as i32)
}

/// Writes the bytes that must come next, at most `room`, and says how many.
#[no_mangle]
pub unsafe extern "C" fn forced_text(m: *mut Matcher, out: *mut u8, room: usize) -> usize {
    let bytes = (*m).compute_ff_bytes();
    let count = bytes.len().min(room);
    std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, count);
    count
}
/// Writes the tokens that must come next, at most `room`, and says how many.
#[no_mangle]
pub unsafe extern "C" fn forced(m: *mut Matcher, out: *mut u32, room: usize) -> usize {
    let ids = (*m).compute_ff_tokens();
    let count = ids.len().min(room);
    std::ptr::copy_nonoverlapping(ids.as_ptr(), out, count);
    count
}
