// Every rule and every crime that the oracle can name: id, kind, source in the reference, meaning. One table.
//
// An id is the identity of a finding everywhere (cases, buckets, the zoo), so it never changes once released. Code
// names a rule as rule("page.overlap"): an id that is not in the table does not compile. model/README.md shows the same
// rows with an example each; rules_test.cpp keeps the two equal.
#pragma once

#include <string_view>

#include "model/oracle/oracle.h"

namespace memtorture::oracle {

// clang-format off
inline constexpr RuleRow rule_rows[] = {
    // --- a block that was handed out
    {"page.overlap", RuleKind::rule, "P-BUDDY-2, P-PAGE-2, P-SYS-3", "a frame is handed out or listed as free only if nobody owns it"},
    {"page.reserved", RuleKind::rule, "P-BUDDY-2, P-BOOT-1", "reserved and absent frames are never handed out or moved between lists"},
    {"page.bad", RuleKind::rule, "P-PAGE-7, P-PAGE-8", "a frame that was found bad is never seen again"},
    {"page.content", RuleKind::rule, "P-PAGE-24, P-SYS-4", "a live block holds what its owner wrote last"},
    {"page.count", RuleKind::rule, "P-PAGE-3, P-PAGE-4, P-PAGE-28", "page_count is 0 when free, 1 after allocation, and counts references; a tail has its head's"},
    {"page.address", RuleKind::rule, "P-PAGE-10, P-PAGE-21", "address forms and page_address give the linear address; high memory has none"},
    {"page.order", RuleKind::rule, "P-BUDDY-9", "order >= MAX_ORDER is refused whatever the flags"},
    {"page.fail.spurious", RuleKind::rule, "P-RECLAIM-1, P-RECLAIM-2, P-BUDDY-5, P-WMARK-6", "no refusal while an allowed zone satisfies the request's mark all along"},
    {"page.fail.small", RuleKind::rule, "P-RECLAIM-2, P-OOM-5", "a blocking request of order <= 3 without NORETRY is not refused (strict)"},
    {"page.fail.reclaim", RuleKind::rule, "P-RECLAIM-2", "a blocking request is not refused before reclaim was tried"},
    {"page.report.missing", RuleKind::rule, "P-PAGE-7, P-PAGE-11, P-CTX-1, P-OOM-6, P-BUDDY-9", "an owed report did not come"},
    {"page.report.spurious", RuleKind::rule, "P-OOM-6, P-SYS-10", "a report that nobody had earned"},
    {"page.report.zones", RuleKind::rule, "9.7", "a failure report shows every zone once, with its marks and its free pages"},
    {"page.report.reason", RuleKind::rule, "P-PAGE-7, P-PAGE-11", "a bad page report tells what is wrong with the page"},
    // --- zones
    {"zone.bound", RuleKind::rule, "P-ZONE-3, P-ZONE-6, P-PAGE-23", "the zone of the result is not above the highest zone that the flags allow"},
    {"zone.span", RuleKind::rule, "P-ZONE-2, P-PAGE-20", "all frames of a block lie in one zone of one node"},
    {"zone.node", RuleKind::rule, "P-ZONE-5", "with __GFP_THISNODE the result lies on the node asked for"},
    {"zone.bits", RuleKind::rule, "P-ZONE-6", "an illegal combination of zone modifiers gives no page"},
    {"zone.preference", RuleKind::rule, "P-ZONE-4, P-ZONE-8", "the result comes from the first zone of the zonelist that passes, in the first pass that any zone passes"},
    {"zone.layout", RuleKind::rule, "P-ZONE-1, P-ZONE-7, P-BOOT-3", "published zones have the boundaries and page counts that the machine shape gives"},
    // --- buddy
    {"buddy.align", RuleKind::rule, "P-BUDDY-1", "a block of order o starts at a multiple of 2^o"},
    {"buddy.smallest", RuleKind::rule, "P-BUDDY-6, P-BUDDY-8", "no block is split while a smaller sufficient one is free in the zone"},
    {"buddy.count", RuleKind::rule, "P-BUDDY-4, P-SYS-9", "nr_free_pages and every nr_free are what the operations imply"},
    {"buddy.coalesce", RuleKind::audit, "P-BUDDY-3, P-BUDDY-7, P-PAGE-9", "the free lists are maximally coalesced"},
    {"buddy.bound", RuleKind::audit, "P-BUDDY-12", "a listed block is aligned, whole and inside its zone"},
    {"buddy.double", RuleKind::audit, "P-PAGE-2, P-PAGE-11", "no block is listed twice"},
    {"buddy.lost", RuleKind::audit, "P-SYS-1, P-SYS-2, P-PAGE-26, P-PAGE-27, P-PAGE-29", "every free frame is on a list"},
    {"buddy.mark", RuleKind::audit, "P-PAGE-3, P-PAGE-5, P-PAGE-6", "descriptors of free blocks have count 0, the buddy mark and the order on the head, nothing else"},
    {"page.descriptor", RuleKind::audit, "P-PAGE-3, P-PAGE-5, P-PAGE-6", "descriptors of live blocks have the right count and compound marks and no stray state"},
    {"page.conserve", RuleKind::audit, "P-ZONE-7, P-SYS-2, P-SYS-9", "managed = free + per-CPU + owned + bad in every zone"},
    // --- watermarks
    {"wmark.min", RuleKind::rule, "P-WMARK-2, P-WMARK-3, P-WMARK-4, P-WMARK-5, P-GFP-8", "a page is taken only if the zone passed a mark that the request is entitled to"},
    {"wmark.reserve", RuleKind::rule, "P-WMARK-2, P-WMARK-8", "... including the lowmem_reserve against requests that could use higher zones"},
    {"wmark.order", RuleKind::rule, "P-WMARK-2, P-WMARK-7", "... and the per-order part of the check"},
    {"wmark.formula", RuleKind::rule, "P-WMARK-1, P-WMARK-9", "published marks and lowmem_reserve equal the formulas"},
    {"wmark.kswapd", RuleKind::rule, "P-WMARK-10, P-RECLAIM-6", "a request that misses its first pass wakes kswapd of a node below its low mark"},
    // --- per-CPU lists
    {"pcp.size", RuleKind::rule, "P-PCP-1", "published batch and high equal the formulas or the shape's values"},
    {"pcp.high", RuleKind::rule, "P-PCP-1", "after a free the list is shorter than high"},
    {"pcp.batch", RuleKind::rule, "P-PCP-2", "one refill or flush moves at most batch pages"},
    {"pcp.remote", RuleKind::rule, "P-PCP-3", "a page on a CPU's list leaves it only through that CPU or a drain"},
    {"pcp.park", RuleKind::rule, "P-PAGE-2, P-PCP-7", "only a page that is being freed goes on a per-CPU list"},
    {"pcp.double", RuleKind::rule, "P-PAGE-2, P-PCP-1", "a page is on one per-CPU list once"},
    {"pcp.drain", RuleKind::rule, "P-PCP-4, P-PCP-6", "after a drain, and before a blocking high-order request is refused, the lists are empty"},
    {"pcp.count", RuleKind::audit, "P-PCP-1", "the counter of a list equals its length and what the operations imply"},
    // --- flags
    {"gfp.zero", RuleKind::rule, "P-GFP-5, P-PAGE-22, P-SYS-11", "every byte of a block that was asked zeroed is 0"},
    {"gfp.sleep", RuleKind::rule, "P-GFP-2, P-CTX-2", "a request without __GFP_WAIT, or a function that may not sleep, never sleeps"},
    {"gfp.reclaim", RuleKind::rule, "P-GFP-2, P-RECLAIM-3", "direct reclaim runs only for blocking requests of tasks that are not reclaimers"},
    {"gfp.io", RuleKind::rule, "P-GFP-3, P-GFP-9", "no write to swap is started without __GFP_IO, or inside a noio scope"},
    {"gfp.fs", RuleKind::rule, "P-GFP-3, P-GFP-9", "no filesystem is called without __GFP_FS, or inside a nofs or noio scope"},
    {"gfp.scope", RuleKind::rule, "P-GFP-9, P-RECLAIM-5", "reclaim runs with the caller's flags less those masked by scopes"},
    {"gfp.nowarn", RuleKind::rule, "P-GFP-4", "__GFP_NOWARN: no failure report"},
    {"gfp.noretry", RuleKind::rule, "P-GFP-7", "__GFP_NORETRY: at most one round of direct reclaim"},
    {"gfp.repeat", RuleKind::rule, "P-RECLAIM-2", "__GFP_REPEAT above order 3 is not refused while reclaim makes progress and has freed less than the request"},
    {"gfp.nofail", RuleKind::rule, "P-RECLAIM-2", "__GFP_NOFAIL that may sleep is never refused below MAX_ORDER"},
    {"gfp.cpuset", RuleKind::rule, "3.5, 5.6, 9.1, P-RECLAIM-2", "a task gets, reclaims and wakes kswapd for memory of its cpuset's nodes only; without __GFP_HARDWALL, and where waiting is no way out, it gets that of others once its own is short"},
    // --- context
    {"ctx.balance", RuleKind::rule, "P-CTX-3", "preempt_count, the interrupt flag, the task flags and the locks held are the same after a call as before, but for what the call is for"},
    {"ctx.sleeping", RuleKind::rule, "P-CTX-1", "no might_sleep report without a caller that may not sleep"},
    {"ctx.scheduling", RuleKind::rule, "P-CTX-4", "the allocator never schedules while atomic"},
    {"ctx.processor-id", RuleKind::rule, "P-CTX-5, P-CTX-9", "smp_processor_id reports exactly when preemptible, and tells the CPU"},
    {"lock.misuse", RuleKind::machine, "P-CTX-8, P-CTX-10", "nobody but a program's crime recurses on a lock or releases one that is not held"},
    {"lock.order", RuleKind::rule, "P-CTX-7, P-CTX-8, 1.5", "the stack waits for its locks in one order, the reference's, and for no program's lock while it holds one"},
    {"lock.interrupts", RuleKind::rule, "P-CTX-7, P-CTX-10, 1.5", "no lock of the stack that a handler may take is held, or waited for under one that is, where that handler can come"},
    {"lock.leaf", RuleKind::rule, "P-CTX-8", "no pages are asked for under a spinlock of the stack"},
    // --- CPUs
    {"cpu.result", RuleKind::rule, "P-PCP-8, 10.5", "a CPU goes or comes exactly when it can: it is not CPU 0, is there or has gone, and the caller may sleep"},
    {"cpu.left", RuleKind::rule, "P-PCP-8, 6.4, 10.5", "when a CPU has gone no page is on its lists, no object in its arrays, no stack kept there"},
    {"cpu.offline", RuleKind::rule, "P-PCP-8", "nothing runs on a CPU that has gone, and nothing is put on its lists"},
    // --- reclaim and OOM
    {"reclaim.owner", RuleKind::rule, "P-RECLAIM-8", "reclaim takes only pages of clients and slabs, and of clients only kinds that its flags allow; direct reclaim only in zones of the request"},
    {"reclaim.progress", RuleKind::rule, "P-RECLAIM-4", "a round, and each shrinker in it, reports as much progress as it freed pages"},
    {"reclaim.writing", RuleKind::rule, "9.3", "what a device writes stays its client's until it is written, and only dirty and anonymous pages are written"},
    {"reclaim.nested", RuleKind::rule, "P-RECLAIM-7", "direct reclaim and shrinkers do not recurse"},
    {"reclaim.slab", RuleKind::rule, "P-SLAB-14, P-RECLAIM-2", "a round of direct reclaim that reports no progress leaves no slab without objects"},
    {"reclaim.clients", RuleKind::rule, "P-RECLAIM-2, P-OOM-1", "a round of direct reclaim that reports no progress leaves no client's page that it may take"},
    {"oom.condition", RuleKind::rule, "P-OOM-1, P-OOM-3", "the OOM killer runs only for blocking FS requests without NORETRY, once after each reclaim without progress, and while no victim still has to go"},
    {"oom.victim", RuleKind::rule, "9.5, P-OOM-2", "the victim is a process with most points of those that may be killed, or a child of such a one"},
    {"oom.exit", RuleKind::rule, "P-OOM-4", "a process that is gone was killed, and holds no memory"},
    {"oom.trait", RuleKind::rule, "9.5", "what is said about a process is accepted exactly when there is such a process and value"},
    {"oom.panic", RuleKind::rule, "P-OOM-5", "the machine panics only if nothing is killable and the request may not be refused"},
    {"kswapd.high", RuleKind::rule, "P-RECLAIM-6", "a woken kswapd raises every zone of its node above the high mark, or leaves nothing reclaimable there"},
    {"client.count", RuleKind::rule, "P-SYS-9", "clients hold the pages that were granted to them; what add, drop and kill tell is what they moved"},
    // --- other layers of the subject
    {"layer.pages", RuleKind::rule, "P-SLAB-9, P-SYS-2", "a layer gives back only blocks that it holds, whole and once"},
    {"layer.gfp", RuleKind::rule, "10.5, P-GFP-2, P-CTX-2", "a layer asks for pages only where it needs some, and with no more rights than its caller's"},
    // --- objects
    {"object.overlap", RuleKind::rule, "P-SLAB-1, P-KMALLOC-1, P-SYS-3", "no byte of a live object is handed out again"},
    {"object.place", RuleKind::rule, "P-SLAB-1, P-KMALLOC-1", "an object lies in one block of pages that its layer holds"},
    {"object.align", RuleKind::rule, "P-SLAB-1, P-KMALLOC-1, 10.4", "an object has the alignment of its cache"},
    {"object.zone", RuleKind::rule, "P-KMALLOC-1, P-SLAB-12", "objects are never in high memory, and in DMA memory where that was asked for"},
    {"object.node", RuleKind::rule, "P-ZONE-5, 10.2", "with __GFP_THISNODE an object lies on the node asked for"},
    {"object.zero", RuleKind::rule, "P-KMALLOC-3, P-SLAB-2", "every byte of an object that was asked zeroed is 0"},
    {"object.construct", RuleKind::rule, "P-SLAB-7", "an object of a cache with a constructor comes as it was constructed or given back"},
    {"object.content", RuleKind::rule, "P-SYS-4, P-SLAB-14, P-KMALLOC-5", "a live object holds what its owner wrote last, and takes it along when it moves"},
    {"object.size", RuleKind::rule, "P-KMALLOC-2, P-SLAB-2", "ksize and kmem_cache_size tell the size of the class or cache"},
    {"object.null", RuleKind::rule, "P-KMALLOC-4, P-KMALLOC-7, P-KMALLOC-3", "0 bytes give ZERO_SIZE_PTR; too many, or a product that overflows, give nothing"},
    {"object.fail", RuleKind::rule, "P-SLAB-17, P-KMALLOC-8", "an object is refused only if a request for pages was and nothing is free by then, or by an injected failure"},
    {"object.realloc", RuleKind::rule, "P-KMALLOC-5", "krealloc leaves an object where it is exactly when it is large enough"},
    {"object.leak", RuleKind::rule, "20.6, P-DEBUG-1, P-DEBUG-2", "the leak scan finds what is live and nothing refers to, and nothing else"},
    {"object.page", RuleKind::rule, "P-SLAB-14, P-SLAB-9", "pages go back only when no object in them is live"},
    {"cache.create", RuleKind::rule, "P-SLAB-11", "a cache is refused exactly when it cannot be made, its name is taken, or memory was refused"},
    {"cache.destroy", RuleKind::rule, "P-SLAB-10", "a cache goes exactly when it has no live object"},
    {"cache.shrink", RuleKind::rule, "10.2", "kmem_cache_shrink tells 0 exactly when no object is live"},
    // --- faults
    // --- pools
    {"pool.create", RuleKind::rule, "P-POOL-5, 12.1", "a pool is refused exactly when it cannot be made or memory was refused"},
    {"pool.fail", RuleKind::rule, "P-POOL-2, P-POOL-3", "an element is never refused to who may wait, to others only if the backend refused and nothing is set aside"},
    {"pool.gfp", RuleKind::rule, "P-POOL-6", "the backend is asked with NOMEMALLOC, NORETRY and NOWARN, for the first time without WAIT and IO"},
    {"pool.resize", RuleKind::rule, "12.1", "mempool_resize tells -ENOMEM exactly when there was no memory for the array, -EINVAL for less than one"},
    {"pool.destroy", RuleKind::rule, "P-POOL-5, 12.1", "a pool goes exactly when all of its elements are back"},
    // --- per-CPU memory
    {"percpu.place", RuleKind::rule, "P-PERCPU-1, P-PERCPU-2, P-PERCPU-9", "an area has a copy for each CPU, aligned, each in a unit of its own at one offset, where nobody else has anything"},
    {"percpu.zero", RuleKind::rule, "P-PERCPU-1", "every byte of every copy is 0 when an area is handed out"},
    {"percpu.fail", RuleKind::rule, "P-PERCPU-8, 16.5", "an area is refused only if memory was; who may not wait gets what is populated"},
    {"percpu.null", RuleKind::rule, "P-PERCPU-7", "what is no size or alignment of an area is refused"},
    {"percpu.cpu", RuleKind::rule, "P-PERCPU-3, 1.4", "get_cpu and its relations tell the CPU that the caller is on, and its copy"},
    {"percpu.content", RuleKind::rule, "P-PERCPU-4, P-PERCPU-5", "a copy holds what its CPU wrote, and a total is the sum of what was added"},
    // --- the slab layer's structures
    {"slab.geometry", RuleKind::audit, "P-SLAB-5, P-SLAB-6, 10.4", "objects, order, descriptor and colours of a slab are the reference's arithmetic"},
    {"slab.owner", RuleKind::audit, "10.3, P-SLAB-9, P-SYS-2", "slabs and the blocks of pages that the layer holds are the same; pages know their slab, lists their node, the chain its caches"},
    {"slab.chain", RuleKind::audit, "10.3, P-SLAB-15", "inuse is the number of objects less the length of the free chain, which names each once"},
    {"slab.list", RuleKind::audit, "P-SLAB-3", "a slab is on the list that its count of objects in use says"},
    {"slab.array", RuleKind::audit, "P-SLAB-15, P-SLAB-19", "arrays keep their limits, and hold each buffer once, in use for its slab, on its node"},
    {"slab.object", RuleKind::audit, "P-SLAB-1, P-SLAB-8", "a live object is a buffer of its cache, in use and in no array"},
    {"slab.count", RuleKind::audit, "P-SLAB-9, P-SLAB-13, P-SYS-9", "free_objects and the counts of slab pages are what the slabs say"},
    {"slab.grow", RuleKind::rule, "P-SLAB-3, P-KMALLOC-8", "a cache asks for pages only if its node has no free object on lists or in the shared array"},
    {"slab.lost", RuleKind::audit, "P-SLAB-16, P-SYS-2", "what is in use is live, in an array, or a structure that the layer has"},
    {"bucket.geometry", RuleKind::audit, "11.5", "the classes of buckets, and where headers stand in an area, are the reference's arithmetic"},
    {"bucket.owner", RuleKind::audit, "11.5, P-SYS-2", "areas and the blocks of pages that the layer holds are the same"},
    {"bucket.chain", RuleKind::audit, "11.5", "the free chain of an area names the blocks whose headers say free, each once, as many as are counted"},
    {"bucket.list", RuleKind::audit, "11.5", "an area is on the list that its free blocks and those in use say, and none that has only free ones exists; DMA lists hold DMA memory"},
    {"bucket.object", RuleKind::audit, "11.5, P-KMALLOC-9", "a live object is a block in use of its class, as long as was asked for"},
    {"bucket.lost", RuleKind::audit, "11.5, P-SYS-2", "a block in use is a live object"},
    {"bucket.count", RuleKind::audit, "11.5, P-SYS-9", "a class counts the areas that it has"},
    {"pool.stock", RuleKind::audit, "P-POOL-1, P-POOL-3, P-POOL-4", "a pool sets aside as many elements as what happened says, at most min_nr; each is in use for its backend and nobody's"},
    // --- kernel stacks
    {"stack.block", RuleKind::rule, "P-STACK-2, 17.1", "a stack is one block of THREAD_SIZE bytes, aligned to that, and nobody else's"},
    {"stack.clear", RuleKind::rule, "17.1, P-STACK-2", "a new stack is zero where frames go, wherever it comes from"},
    {"stack.charge", RuleKind::rule, "P-STACK-3", "a frame lies right below the last one of the stack that its context is on: a handler's is that of what it interrupted, or its CPU's for interrupts"},
    {"stack.frame", RuleKind::rule, "17.1, P-SYS-4", "a frame holds what was written until its function returns"},
    {"stack.used", RuleKind::rule, "17.1", "stack_not_used tells the bytes that no frame has written so far"},
    {"stack.overrun", RuleKind::rule, "P-STACK-1, P-STACK-4", "a switch away from an overrun stack, and the end of whoever is on it, is a panic that says what is gone; there is none otherwise"},
    {"stack.low", RuleKind::rule, "17.2", "a hardirq tells that the stack which it found is low, exactly when less than an eighth is left"},
    {"stack.fail", RuleKind::rule, "P-STACK-5, 19.5", "fork is refused exactly when memory or its charge was, and leaves nothing behind"},
    {"stack.early", RuleKind::rule, "P-STACK-2", "pages of a stack go back when its task is gone and off the CPU, and by the end or the birth of a task"},
    {"stack.lost", RuleKind::audit, "P-STACK-2, P-STACK-5, P-SYS-2", "each block that is a stack is a live task's or CPU's, a dead one's until the next task comes or goes on its CPU, or kept: two a CPU at most"},
    {"stack.info", RuleKind::audit, "17.1, P-STACK-4", "thread_info and the magic at the low end of a stack say whose it is"},
    {"percpu.map", RuleKind::audit, "16.5, P-PERCPU-1", "the map of a chunk says of every byte whether it is a live area's, and no two free areas meet"},
    {"percpu.populate", RuleKind::audit, "16.5", "pages are backed for all CPUs or for none, and where areas are for all; those without areas are counted"},
    {"percpu.chunk", RuleKind::audit, "16.5, P-PERCPU-6", "chunks are blocks of the layer, in the slot of their free bytes; of those without areas one stays when the work is done"},
    {"fault.honoured", RuleKind::rule, "P-FAULT-6", "an injected failure refuses the request, without reclaim and without a failure report"},
    {"fault.nofail", RuleKind::rule, "P-FAULT-5", "__GFP_NOFAIL requests are never injected"},
    // --- crimes of the program
    {"double-free", RuleKind::crime, "P-PAGE-11", "a block is freed again: bad page, nothing else happens"},
    {"put-too-many", RuleKind::crime, "P-PAGE-4, P-PAGE-11", "put_page of a frame whose own count is 0: bad page"},
    {"get-after-free", RuleKind::crime, "2.4", "get_page of a frame whose own count is 0: bad page"},
    {"interior-free", RuleKind::crime, "8 (freeing rules), P-PAGE-11", "__free_pages of a frame inside a block, whose own count is 0: bad page"},
    {"wild-free", RuleKind::crime, "8 (freeing rules)", "a frame is freed that its handle never got: bad page or bad address; fatal if the frame does not exist"},
    {"reserved-free", RuleKind::crime, "4.5", "a reserved page is freed: bad page"},
    {"foreign-free", RuleKind::crime, "8 (freeing rules), P-PAGE-7", "a frame that belongs to somebody else is freed or referenced: fatal, nobody can notice; a slab's frames say what they are: bad page, and the slab is lost"},
    {"wrong-order-free", RuleKind::crime, "4.5, 2.5", "freed with another order: a compound page leaks with a bad page report, else fatal"},
    {"split-compound", RuleKind::crime, "2.4", "split_page of a compound, free or inner page: report"},
    {"wrong-order-split", RuleKind::crime, "2.4", "split_page with another order than the block's: fatal"},
    {"block-race", RuleKind::crime, "2.4, 8 (freeing rules)", "the last reference that is surely there is dropped while another context takes one, or a block is split while another works on it: fatal"},
    {"blemished-free", RuleKind::crime, "P-PAGE-7", "a page is freed with its descriptor in use: bad page, the block leaks"},
    {"foreign-blemish", RuleKind::crime, "P-PAGE-8", "the descriptor of a page that is not one's own is written: found at the next allocation if the page was free, else fatal"},
    {"use-after-free-write", RuleKind::crime, "20.1, 20.4", "a freed block is written: reported at once where accesses are watched (K), at its next allocation where free pages are poisoned, else fatal"},
    {"use-after-free-read", RuleKind::crime, "20.1, 20.4", "a freed block is read: reported where accesses are watched (K), else fatal"},
    {"write-outside", RuleKind::crime, "P-PAGE-24", "a write outside of the own block: as use-after-free-write where it hits free memory, else fatal"},
    {"leak", RuleKind::crime, "P-PAGE-27, 20.6", "a block is live when everybody has left"},
    {"object-double-free", RuleKind::crime, "P-SLAB-8, P-KMALLOC-10", "an object is given up again"},
    {"object-invalid-free", RuleKind::crime, "P-SLAB-8, 11.7", "an address is freed that is no object's: reported if it lies in no slab"},
    {"wrong-size-free", RuleKind::crime, "11.5, P-KMALLOC-9", "kfree_s with another size than was asked for: reported, the object stays (buckets)"},
    {"wrong-cache-free", RuleKind::crime, "P-SLAB-8", "an object is given to a cache that it is not of"},
    {"object-use-after-free", RuleKind::crime, "11.7", "an object is used that was given up"},
    {"object-read-outside", RuleKind::crime, "11.7", "a read beside the object"},
    {"object-write-outside", RuleKind::crime, "11.7", "a write beside the object"},
    {"dead-cache", RuleKind::crime, "10.2", "a cache is used that was destroyed, or destroyed while it is used"},
    {"busy-cache", RuleKind::crime, "P-SLAB-10", "a cache with live objects is destroyed: reported, and it stays"},
    {"bad-cache", RuleKind::crime, "10.2", "a cache is asked for that cannot be: reported, refused"},
    {"bad-pool", RuleKind::crime, "12.1", "a pool is asked for, or to set aside so many, that cannot be: reported, refused"},
    {"busy-pool", RuleKind::crime, "12.1", "a pool is destroyed while elements are out: reported, and it stays"},
    {"dead-pool", RuleKind::crime, "12.1", "a pool is used that was destroyed, or destroyed while it is used"},
    {"wrong-pool-free", RuleKind::crime, "12.1", "a pool gets what is none of its elements, or does not get one: reported if none is out"},
    {"stack-overflow", RuleKind::crime, "P-STACK-1", "frames go past the end of their stack: panic at the next switch or end; fatal if they go over memory that others may come to"},
    {"double-exit", RuleKind::crime, "P-STACK-2", "a task ends that is gone: reported, fatal if its stack may be another's by now"},
    {"slab-gfp", RuleKind::crime, "10.9", "flags that no object can have, or GFP_DMA and the cache disagree: reported, put right"},
    {"sleep-in-atomic", RuleKind::crime, "P-CTX-1, P-CTX-4", "a function that may sleep is called in atomic context: report, and the call proceeds"},
    {"nmi-entry", RuleKind::crime, "P-CTX-6", "the allocator is entered from NMI: report, and the call is refused"},
    {"processor-id-preemptible", RuleKind::crime, "P-CTX-5", "smp_processor_id while preemptible: report"},
    {"preempt-underflow", RuleKind::crime, "1.7", "preempt_enable without preempt_disable: report"},
    {"lock-misuse", RuleKind::crime, "1.7", "a lock is taken again by its holder or released by somebody else: report"},
    {"lock-order", RuleKind::crime, "P-CTX-7, 1.7", "two locks are waited for in both orders, or on a ring of orders: noticed without the deadlock"},
    {"lock-interrupts", RuleKind::crime, "P-CTX-7, 1.7", "a lock that a handler takes is held, or waited for under one that is, where that handler can come"},
    {"reclaim-recursion", RuleKind::crime, "9.6, 1.7", "a lock that reclaim takes is held over a request that may enter that reclaim"},
    {"unbalanced-exit", RuleKind::crime, "1.7, P-CTX-3", "a program ends with preemption, softirqs or interrupts off, or with a lock: report"},
    {"bh-enable", RuleKind::crime, "1.5", "softirqs are enabled where interrupts are off: report"},
    {"percpu-illegal", RuleKind::crime, "P-PERCPU-7", "a per-CPU area of no size, too large, or with an alignment that is none: reported, refused"},
    {"percpu-bad-free", RuleKind::crime, "16.5", "free_percpu of what is no area, or was given up: reported; fatal if another area begins there"},
    {"percpu-use-after-free", RuleKind::crime, "16.4", "a per-CPU area is used that was given up, or given up while it is used: fatal"},
    {"percpu-unpinned", RuleKind::crime, "16.1, P-CTX-9, P-PERCPU-10", "a copy is added to where the task may be moved; __this_cpu_add reports it"},
    {"percpu-stale", RuleKind::crime, "P-CTX-9, 16.2", "a pointer or CPU number is used after the pin ended and the task moved"},
    {"percpu-irq", RuleKind::crime, "P-PERCPU-5", "a handler that adds to a copy can come between the load and the store of an addition on its CPU"},
    {"percpu-remote", RuleKind::crime, "16.3, P-PERCPU-5", "another CPU's copy is added to, and no lock is held by all who add to it"},
    {"lost-update", RuleKind::crime, "16.1", "an addition stored over what another one had stored since it loaded"},
    {"highmem-address", RuleKind::crime, "7.2, 7.6", "__GFP_HIGHMEM to a function that returns an address: report, masked"},
    {"compound-exact", RuleKind::crime, "4.6", "__GFP_COMP to alloc_pages_exact: report, masked"},
    {"zone-bits", RuleKind::crime, "3.4, 7.6", "an illegal combination of zone modifiers: report, refused"},
    {"mobility-bits", RuleKind::crime, "7.6", "MOVABLE and RECLAIMABLE together: report"},
    {"nofail-atomic", RuleKind::crime, "7.6", "__GFP_NOFAIL without __GFP_WAIT: report, may be refused"},
};
// clang-format on

// An id as a value: unknown ids do not compile.
class RuleId {
 public:
  consteval RuleId(const char* id) : id_(id) {  // NOLINT: implicit, so that a call reads broken("page.overlap", ...)
    for (const RuleRow& row : rule_rows) {
      if (row.id == id_) return;
    }
    throw "not a rule";  // reached at compile time only
  }
  constexpr std::string_view name() const { return id_; }

 private:
  std::string_view id_;
};

}  // namespace memtorture::oracle
