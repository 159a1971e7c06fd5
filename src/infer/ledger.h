#ifndef BERTH_LEDGER_H
#define BERTH_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The account of memory: who holds how much of which device, who was promised some, what is left,
 * and who goes first when it is not enough.  Pure: time and measurements are given, nothing is read
 * or locked, so a day of traffic is tried in a second.  One caller at a time.
 *
 * Device 0 is the machine's memory; GPUs follow in the order of engine.gpu.device_ids.
 */
enum { BERTH_LEDGER_DEVICES = 9 };

/* Bytes on each device. */
struct berth_ledger_bytes {
    uint64_t on[BERTH_LEDGER_DEVICES];
};

/* What holds memory: a registered model with all that is loaded of it.  Lies in its owner. */
struct berth_ledger_item {
    struct berth_ledger_bytes held;     /* measured, of what is loaded */
    struct berth_ledger_bytes promised; /* for a load that is going on */
    uint64_t outside_bytes;             /* of held on device 0, what child processes have */
    uint64_t load_ns;                   /* what bringing it back takes */
    uint64_t loaded_ns, used_ns;        /* when, last; monotonic */
    uint64_t weight, weight_ns;         /* uses, halved every BERTH_LEDGER_HALF_NS; as of when */
    bool pinned;                        /* never evicted */
    bool in_use;                        /* somebody works with it: never evicted */
    void *owner;                        /* for who evicts; NULL: nobody can */
    /* The ledger's own. */
    bool listed, chosen;
    struct berth_ledger_item *next, *prev;
};

/* How a device stands.  total 0: nothing is known but the budget. */
struct berth_ledger_device {
    uint64_t budget_bytes;  /* that models may take together; UINT64_MAX: no limit of its own */
    uint64_t reserve_bytes; /* never promised */
    uint64_t total_bytes;   /* what the machine, the cgroup or the card has */
    uint64_t free_bytes;    /* of it, what nobody uses now; files in the cache count as free */
    uint64_t self_bytes;    /* of it, what this process uses (not files) */
    /* The ledger's own. */
    uint64_t held_bytes, promised_bytes, outside_bytes;
    uint64_t self_before_bytes; /* self when the first of the loads going on was promised */
};

struct berth_ledger {
    struct berth_ledger_device devices[BERTH_LEDGER_DEVICES];
    struct berth_ledger_item *items; /* those that hold or were promised something */
    uint32_t item_count;
};

static const uint64_t BERTH_LEDGER_HALF_NS = UINT64_C(60000000000);

/* New measurements of a device (budget, reserve, total, free, self); its sums stay. */
void berth_ledger_measure(struct berth_ledger *l, uint32_t device,
                          const struct berth_ledger_device *now);

/* n more uses of the item until now.  Also for items that hold nothing. */
void berth_ledger_use(struct berth_ledger_item *i, uint64_t n, uint64_t now_ns);
/* Its uses as of now, the older ones worth less; in 1/256. */
uint64_t berth_ledger_weight(const struct berth_ledger_item *i, uint64_t now_ns);

/* A load begins: need is promised, besides what the item holds. */
void berth_ledger_promise(struct berth_ledger *l, struct berth_ledger_item *i,
                          const struct berth_ledger_bytes *need);
/* It ended: the promise is taken back, and this is what the item holds now. */
void berth_ledger_settle(struct berth_ledger *l, struct berth_ledger_item *i,
                         const struct berth_ledger_bytes *held, uint64_t outside_bytes);

/* How a device's memory is shared out. */
struct berth_ledger_sums {
    uint64_t budget_bytes;   /* what models may have together, by the setting and the machine */
    uint64_t held_bytes;     /* by models */
    uint64_t promised_bytes; /* to loads going on */
    uint64_t pinned_bytes,
        in_use_bytes;      /* of held, what cannot go now; a pinned one in use: both */
    uint64_t others_bytes; /* by everything that is no model */
    uint64_t free_bytes;   /* for another model now */
};
struct berth_ledger_sums berth_ledger_sums(const struct berth_ledger *l, uint32_t device);

enum berth_ledger_verdict {
    BERTH_LEDGER_FITS,  /* as it is */
    BERTH_LEDGER_EVICT, /* when those in first ... go */
    BERTH_LEDGER_WAIT,  /* when some that are in use, or have just come, have ended their work */
    BERTH_LEDGER_NEVER, /* not even with everything gone that is not pinned */
};

struct berth_ledger_ask {
    struct berth_ledger_bytes need;
    const struct berth_ledger_item *self; /* never its own victim; may be NULL */
    uint64_t since_ns;                    /* it has waited since then */
    uint64_t now_ns;
    bool evict; /* false: only what is free */
};

struct berth_ledger_choice {
    enum berth_ledger_verdict verdict;
    /* EVICT: cheapest first.  As many as there is place for may not be enough: then ask again. */
    struct berth_ledger_item *victims[64];
    uint32_t victim_count;
    uint32_t device;      /* that is short, when it does not fit */
    uint64_t short_bytes; /* by how much, as things are */
    bool braked;          /* WAIT, and but for the brake it would be EVICT */
};

/*
 * May need be promised, and who must go for it?
 *
 * Cheapest to bring back per byte goes first: load time (roughly) times weight over bytes; of alike
 * ones that used longest ago.  One that was
 * loaded or used less than four times its load time ago goes only when the others are not enough.
 * The brake against evict-and-reload spirals: one that was used since the asker began to wait is
 * wanted too, so it stays at least four times its load time (10 s at most) after its load, and the
 * asker waits; a load is then worth at least four times its cost, whatever the traffic.
 */
struct berth_ledger_choice berth_ledger_choose(struct berth_ledger *l,
                                               const struct berth_ledger_ask *ask);

#endif
