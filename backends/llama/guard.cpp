#include "guard.h"

#include <exception>
#include <stdexcept>

#include "engine.h"
#include "ggml.h"

/* Per thread, because the engine's callback says nothing about who called. */
static thread_local bool catches;

static void
on_abort(const char *message)
{
    berth_engine_note_error(message);
    if (catches)
        throw std::runtime_error(message);
    /* Returning lets the engine end the program. */
}

void
berth_guard_open(void)
{
    (void)ggml_set_abort_callback(on_abort);
}

int
berth_guard_call(bool asserts, void (*fn)(void *arg), void *arg)
{
    const bool before = catches;
    int r = 0;

    catches = asserts;
    try {
        fn(arg);
    } catch (const std::bad_alloc &) {
        berth_engine_note_error("out of memory");
        r = -1;
    } catch (const std::exception &x) {
        berth_engine_note_error(x.what());
        r = -1;
    }
    catches = before;
    return r;
}
