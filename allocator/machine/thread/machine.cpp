// The thread engine behind the declarations of machine.h and context.h (lock.h: lock.cpp).
#include "allocator/machine/thread/engine.h"

#include "allocator/machine/machine_on_engine.h"
