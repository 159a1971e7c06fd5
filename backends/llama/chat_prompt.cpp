#include "chat_prompt.h"

#include <sys/random.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "chat.h"
#include "llama.h"
#include "log.h"

/* A control token as a prompt spells it. */
struct mark {
    std::string text;
    llama_token token;
    bool lstrip, rstrip; /* it swallows the blanks before or after it */
};

/* A stretch of the rendered prompt; `ours` when the template wrote it, not the client. */
struct stretch {
    std::string text;
    bool ours;
};

struct berth_chat {
    const llama_vocab *vocab;
    common_chat_templates_ptr templates;
    /* By their first two bytes, longer ones first; no mark is shorter than that. */
    std::unordered_map<unsigned, std::vector<mark>> marks;
};

static unsigned
key_of(const char *p)
{
    return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* The mark that begins at `at`, or NULL. */
static const mark *
mark_at(const berth_chat &c, const std::string &text, size_t at)
{
    if (at + 1 >= text.size())
        return nullptr;
    const auto found = c.marks.find(key_of(&text[at]));
    if (found == c.marks.end())
        return nullptr;
    for (const mark &m : found->second)
        if (text.compare(at, m.text.size(), m.text) == 0)
            return &m;
    return nullptr;
}

static const mark *
any_mark(const berth_chat &c, const std::string &text)
{
    for (size_t i = 0; i + 1 < text.size(); i++)
        if (const mark *m = mark_at(c, text, i))
            return m;
    return nullptr;
}

static void
collect_marks(berth_chat &c)
{
    const int32_t n = llama_vocab_n_tokens(c.vocab);

    for (llama_token t = 0; t < n; t++) {
        const unsigned attr = (unsigned)llama_vocab_get_attr(c.vocab, t);
        const char *text = llama_vocab_get_text(c.vocab, t);

        /* Plain tokenising leaves exactly these two kinds alone. */
        if ((attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) == 0)
            continue;
        if (text != nullptr && strlen(text) >= 2)
            c.marks[key_of(text)].push_back({text, t, (attr & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                                             (attr & LLAMA_TOKEN_ATTR_RSTRIP) != 0});
    }
    for (auto &entry : c.marks)
        std::stable_sort(
            entry.second.begin(), entry.second.end(),
            [](const mark &a, const mark &b) { return a.text.size() > b.text.size(); });
}

int
berth_chat_new(const struct llama_model *model, const char *template_text, struct berth_chat **ret,
               struct berth_err *e)
{
    try {
        auto c = std::make_unique<berth_chat>();

        common_log_set_verbosity_thold(-1); /* it would write to the program's standard error */
        c->vocab = llama_model_get_vocab(model);
        c->templates = common_chat_templates_init(model, template_text);
        collect_marks(*c);
        *ret = c.release();
        return 0;
    } catch (const std::bad_alloc &) {
        return berth_err_set(e, BERTH_ENOMEM, "chat template: out of memory");
    } catch (const std::exception &x) {
        return berth_err_set(e, BERTH_EINVAL, "chat template: %s", x.what());
    }
}

void
berth_chat_free(struct berth_chat *c)
{
    delete c;
}

static std::vector<llama_token>
tokenize(const berth_chat &c, const std::string &text, bool special)
{
    std::vector<llama_token> out(text.size() + 8);

    if (text.size() > INT32_MAX / 2)
        throw std::length_error("the conversation is too long");
    int32_t n = llama_tokenize(c.vocab, text.data(), (int32_t)text.size(), out.data(),
                               (int32_t)out.size(), false, special);
    if (n < 0 && n != INT32_MIN) {
        out.resize((size_t)-n);
        n = llama_tokenize(c.vocab, text.data(), (int32_t)text.size(), out.data(),
                           (int32_t)out.size(), false, special);
    }
    if (n < 0)
        throw std::length_error("the conversation cannot be tokenised");
    out.resize((size_t)n);
    return out;
}

/* Texts of messages, each replaced in the template's input by a word that no client can guess. */
class stand_ins
{
  public:
    stand_ins()
    {
        unsigned char noise[12];
        static const char digits[] = "abcdefghijklmnop";

        if (getrandom(noise, sizeof noise, 0) != (ssize_t)sizeof noise)
            throw std::runtime_error("no random bytes");
        for (const unsigned char b : noise) {
            word += digits[b >> 4];
            word += digits[b & 15];
        }
    }

    /* Blanks at the ends stay outside: templates like to trim them. */
    void replace(std::string &text)
    {
        size_t from = 0, to = text.size();

        while (from < to && isspace((unsigned char)text[from]))
            from++;
        while (to > from && isspace((unsigned char)text[to - 1]))
            to--;
        if (from == to)
            return;
        texts.push_back(text.substr(from, to - from));
        text.replace(from, to - from, word + std::to_string(texts.size() - 1) + "z");
    }

    /* The rendered prompt, with the texts back in their places. */
    std::vector<stretch> put_back(const std::string &rendered) const
    {
        std::vector<stretch> out;
        size_t at = 0;

        for (size_t hit; (hit = rendered.find(word, at)) != std::string::npos;) {
            const size_t number = hit + word.size(), end = rendered.find('z', number);

            if (end == std::string::npos)
                break;
            const size_t i = std::stoul(rendered.substr(number, end - number));
            out.push_back({rendered.substr(at, hit - at), true});
            out.push_back({texts.at(i), false});
            at = end + 1;
        }
        out.push_back({rendered.substr(at), true});
        return out;
    }

  private:
    std::string word;
    std::vector<std::string> texts;
};

/* Tokenise stretch after stretch as if it were one text, but with marks only where the template
 * wrote them.  The engine cuts a text at its marks and tokenises what is between them by itself;
 * so does this. */
static std::vector<llama_token>
tokenize_stretches(const berth_chat &c, const std::vector<stretch> &all)
{
    std::vector<llama_token> out;
    std::string plain;
    bool strip_next = false;

    const auto flush = [&](bool rstrip) {
        while (rstrip && !plain.empty() && isspace((unsigned char)plain.back()))
            plain.pop_back();
        if (!plain.empty()) {
            const auto t = tokenize(c, plain, false);
            out.insert(out.end(), t.begin(), t.end());
        }
        plain.clear();
    };
    for (const stretch &s : all) {
        for (size_t i = 0; i < s.text.size();) {
            const mark *m = s.ours ? mark_at(c, s.text, i) : nullptr;

            if (m != nullptr) {
                flush(m->lstrip);
                out.push_back(m->token);
                strip_next = m->rstrip;
                i += m->text.size();
            } else {
                if (!strip_next || !isspace((unsigned char)s.text[i])) {
                    strip_next = false;
                    plain += s.text[i];
                }
                i++;
            }
        }
    }
    flush(false);
    return out;
}

/* Everything in a message but its text goes where a template may quote or parse it, so a mark in it
 * cannot be made harmless. */
static void
refuse_marks(const berth_chat &c, const char *what, const std::string &text)
{
    if (const mark *m = any_mark(c, text))
        throw std::invalid_argument(std::string("messages: ") + what +
                                    " holds the model's control mark " + m->text + "; take it out");
}

static void
guard_message(const berth_chat &c, common_chat_msg &msg, bool careful, stand_ins &stands,
              bool *used)
{
    std::string joined;

    /* Parts that a template puts side by side may make a mark together. */
    for (const auto &part : msg.content_parts)
        joined += part.text;
    careful = careful || any_mark(c, joined) != nullptr;
    const auto guard = [&](std::string &text) {
        if (careful || any_mark(c, text) != nullptr) {
            stands.replace(text);
            *used = true;
        }
    };

    guard(msg.content);
    guard(msg.reasoning_content);
    for (auto &part : msg.content_parts)
        guard(part.text);
    refuse_marks(c, "role", msg.role);
    refuse_marks(c, "name", msg.tool_name);
    refuse_marks(c, "tool_call_id", msg.tool_call_id);
    for (const auto &call : msg.tool_calls) {
        refuse_marks(c, "a tool call's name", call.name);
        refuse_marks(c, "a tool call's arguments", call.arguments);
        refuse_marks(c, "a tool call's id", call.id);
    }
}

static common_chat_templates_inputs
inputs_of(const berth_chat &c, const common_json &doc)
{
    common_chat_templates_inputs in;

    if (!doc.is_object() || !doc.contains("messages"))
        throw std::invalid_argument("messages: missing");
    in.messages = common_chat_msgs_parse_oaicompat(doc.at("messages"));
    if (in.messages.empty())
        throw std::invalid_argument("messages: empty; send one at least");
    if (doc.contains("tools") && doc.at("tools").is_array()) {
        in.tools = common_chat_tools_parse_oaicompat(doc.at("tools"));
        for (const auto &tool : in.tools) {
            refuse_marks(c, "a tool's name", tool.name);
            refuse_marks(c, "a tool's description", tool.description);
            refuse_marks(c, "a tool's parameters", tool.parameters);
        }
    }
    if (doc.contains("chat_template_kwargs") && doc.at("chat_template_kwargs").is_object())
        for (const auto &entry : doc.at("chat_template_kwargs").items()) {
            refuse_marks(c, "chat_template_kwargs", entry.value().dump());
            in.chat_template_kwargs[entry.key()] = entry.value().dump();
        }
    in.add_generation_prompt = true;
    in.add_bos = llama_vocab_get_add_bos(c.vocab);
    in.add_eos = llama_vocab_get_add_eos(c.vocab);
    /* Only the prompt is wanted here; without tools a template need not be analysed for how
     * answers are to be taken apart, which takes longer than everything else. */
    in.force_pure_content = in.tools.empty();
    return in;
}

static std::vector<llama_token>
conversation_tokens(const berth_chat &c, const char *json, bool careful)
{
    const common_json doc = common_json::parse(json);
    common_chat_templates_inputs in = inputs_of(c, doc);
    stand_ins stands;
    bool used = false;

    for (common_chat_msg &msg : in.messages)
        guard_message(c, msg, careful, stands, &used);
    const common_chat_params rendered = common_chat_templates_apply(c.templates.get(), in);
    std::vector<llama_token> out;
    const llama_token bos = llama_vocab_bos(c.vocab);

    if (used)
        out = tokenize_stretches(c, stands.put_back(rendered.prompt));
    else
        out = tokenize(c, rendered.prompt, true);
    /* Some templates write it themselves, some leave it to the tokeniser. */
    if (llama_vocab_get_add_bos(c.vocab) && bos != LLAMA_TOKEN_NULL &&
        (out.empty() || out.front() != bos))
        out.insert(out.begin(), bos);
    return out;
}

int
berth_chat_tokens(const struct berth_chat *c, const char *json, bool careful, int32_t **ret_tokens,
                  size_t *ret_count, struct berth_err *e)
{
    try {
        const std::vector<llama_token> tokens = conversation_tokens(*c, json, careful);
        int32_t *copy = (int32_t *)malloc((tokens.size() + 1) * sizeof *copy);

        if (copy == nullptr)
            throw std::bad_alloc();
        if (!tokens.empty())
            memcpy(copy, tokens.data(), tokens.size() * sizeof *copy);
        *ret_tokens = copy;
        *ret_count = tokens.size();
        return 0;
    } catch (const std::bad_alloc &) {
        return berth_err_set(e, BERTH_ENOMEM, "chat: out of memory");
    } catch (const std::exception &x) {
        return berth_err_set(e, BERTH_EINVAL, "%s", x.what());
    }
}
