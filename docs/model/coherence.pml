/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The coherence of one hot key, for spin: README.md says what is proven, what is assumed, and how to run it.
 *
 * Versions of the value are counted in the order in which the origin applies writes, so "older" is "less". What the
 * network may do (delay, loss, other orders between connections) is the order in which processes take their steps, and
 * that a process may stop for ever at any of them.
 *
 * -D: WRITERS, FILLERS, READERS    how many of each; one or two readers
 *     KILL       a filler is killed once, between any two of its steps
 *     INVALIDATE_KEY, INVALIDATE_PREFIX    a writer more that does not pass the edge, and says so afterwards
 *     SLOW       the origin may apply a write later than the settle time after it passed
 *     MONOTONIC  also demand that no read returns an older version than a read that was over when it began
 *     TIMED      replies raise the fence only when the settle time is over by then, as TCP's do
 *     UNSEEN     a write's reply may reach its client by a way without Weir
 *     WRONG=n    a mistake, which must be found: see `mistakes`
 */
#ifndef WRONG
#define WRONG 0
#endif

/* mistakes */
#define NO_SECOND_FENCE	  1  /* replies raise nothing */
#define NOTED_LATE	  2  /* the filler notes the fences after the value was fetched */
#define NOT_COMPARED	  3  /* what was fetched is published whatever the fences say */
#define DROPPED_FIRST	  4  /* an invalidation looks through the index before it spoils fetches */
#define NO_FIRST_FENCE	  5  /* requests raise nothing */
#define NOT_FENCED_AGAIN  6  /* a segment sent again, or the rest of a write's data, raises nothing */
#define NO_GRACE	  7  /* slots are used again at once */
#define NOT_DIRTY	  8  /* a killed filler's successor does not wait for readers */
#define TIME_AFTER_COUNT  9  /* a fence's time is written after its count */
#define SLOT_IN_PLACE	  10 /* a new value is written into the slot that is published */
#define NOT_SETTLED	  11 /* the filler does not wait for the settle time */

#define FIRST_FILLER 1 /* its process; that of init is 0 */
#define ME (_pid - FIRST_FILLER)
#define NONE  2 /* no slot */
#define SLOTS 2 /* the fewest that can be used again; so they are, as soon as possible */

/* The origin. */
byte value;

/* The edge. */
byte recent;		/* writes whose bytes have passed less than the settle time ago */
byte spoiled;		/* svc_fence.fills: fetches that are under way are not to be published */
byte index = NONE;
bool dirty;
byte holder;		/* of the writers' lock */
byte slot_head[SLOTS], slot_tail[SLOTS]; /* the value in two parts: a reader copies one after the other */
bool reading[READERS];	/* in an RCU read-side section */
byte noted[6];		/* counts of the fence: by two fillers, two readers, in two slots; 0: none */
#define READER 2
#define SLOT   4

byte begun;		/* writers */
byte kill;		/* the filler that is to be killed now */

/* For the properties alone. */
byte known;		/* the newest version that somebody may rely on */

#define KNOWN(v) known = ((v) > known -> (v) : known)
#ifdef MONOTONIC
#define SHOWN(v) KNOWN(v)
#else
#define SHOWN(v) skip
#endif
/*
 * Counts of fences are only ever asked whether they are the same. So a count stands here as how long ago it was the
 * fence: NOW, or 2, 3, ... raises ago, those left out that nobody noted. What can never be found equal to another's is
 * OLD, or of a reader ALONE. This is the same behaviour with far fewer states.
 */
#define NOW   1
#define OLD   8
#define ALONE 9
#define BY_READER(c) (noted[2] == c || noted[3] == c)
#define SHARED(c)    (BY_READER(c) && (noted[0] == c || noted[1] == c || noted[4] == c || noted[5] == c))
hidden byte n, c;

inline raise()
{
	for (n : 0 .. 5) {
		noted[n] = (noted[n] && noted[n] < OLD -> noted[n] + 1 : noted[n])
	}
	c = 4;
	do
	:: c >= 2 ->
		if
		:: SHARED(c)
		:: else ->
			for (n : 0 .. 5) {
				noted[n] = (noted[n] == c -> (n == 2 || n == 3 -> ALONE : OLD) :
					(noted[n] > c && noted[n] < OLD -> noted[n] - 1 : noted[n]))
			}
		fi;
		c--
	:: else -> break
	od;
	c = 0
}

#define RETURN(v)                \
	assert((v) >= promised); \
	SHOWN(v);                \
	reading[me] = false;     \
	noted[READER + me] = 0;  \
	at = 0;                  \
	got = 0;                 \
	promised = 0

/* ---- writers: through the edge ---------------------------------------------------------------- */

#define FORGET_WRITE                                 \
	recent = (over -> recent : recent - 1);      \
	over = false;                                \
	mine = 0

/*
 * A write's bytes pass up to twice before it is applied: a segment was lost behind the edge and is sent again, or it is
 * a command whose data comes later. Between the two, any time may go by.
 */
proctype writer(byte me)
{
	byte mine;
	bool over; /* the settle time is, since its bytes have passed */

	begun == me; /* they are all the same: one order of beginning is enough */
#if WRONG == NO_FIRST_FENCE
	d_step { recent++; begun++ };
#elif WRONG == TIME_AFTER_COUNT
	d_step { raise(); begun++ };
	recent++;
#else
	d_step { recent++; begun++ }; /* the fence's time is written first, then its count */
	d_step { raise() };
#endif
	if
	:: true
	:: recent--; /* the settle time is over, and the origin does not have it yet */
		recent++;
#if WRONG != NOT_FENCED_AGAIN
		d_step { raise() }
#endif
	fi;
#ifdef SLOW
	if
	:: true
	:: d_step { recent--; over = true }
	fi;
#endif
	d_step {
		value++;
		mine = value;
#ifndef TIMED
		recent = (over -> recent : recent - 1);
		over = true
#endif
	}
#ifdef TIMED
	if
	:: !over -> d_step { recent--; over = true }
	:: true
	fi;
#endif
	if
	:: d_step { /* the reply passes, and arrives at once: that is the worst */
#if WRONG != NO_SECOND_FENCE
			if
			:: over -> raise()
			:: else
			fi;
#endif
			KNOWN(mine);
			FORGET_WRITE
		}
#ifdef UNSEEN
	:: d_step { /* it comes by another way */
			KNOWN(mine);
			FORGET_WRITE
		}
#endif
	:: d_step { FORGET_WRITE } /* there is none: noreply, or it is lost for good */
	fi
}

/* At any time: a segment that is sent again though it had arrived, a reply that is lost, another key of the stripe. */
proctype needless()
{
	d_step { raise() }
}

/* ---- readers: through the edge ---------------------------------------------------------------- */

/*
 * A read that the hot set cannot answer is answered by the origin, at once: one that takes longer is as one that begins
 * later.
 */
proctype reader(byte me)
{
	byte at, promised, got;

	do
	:: atomic {
			promised = known;
			noted[READER + me] = NOW;
			reading[me] = true
		}
		at = index;
		if
		:: d_step {
				at != NONE && noted[SLOT + at] == noted[READER + me] ->
				noted[READER + me] = 0;
				got = slot_head[at]
			}
			d_step {
				assert(got == slot_tail[at]);
				RETURN(got)
			}
		:: d_step {
				at == NONE || noted[SLOT + at] != noted[READER + me] ->
				RETURN(value)
			}
		fi
	od
}

/* ---- the hot set's writers -------------------------------------------------------------------- */

/* What no index word points to is free. Its bytes stay, but nobody will read them: zeroes make fewer states. */
inline free_slots()
{
	dirty = false;
	if
	:: index != 0 -> noted[SLOT] = 0; slot_head[0] = 0; slot_tail[0] = 0
	:: else
	fi;
	if
	:: index != 1 -> noted[SLOT + 1] = 0; slot_head[1] = 0; slot_tail[1] = 0
	:: else
	fi
}

/* A grace period: each reader is seen outside once, so that nobody who began before is still there. */
#if WRONG == NO_GRACE
#define OUTSIDE(r) true
#else
#define OUTSIDE(r) (!reading[r])
#endif

/* Whoever gets the lock waits for the readers of what a killed one took out of the index. */
inline lock()
{
	atomic { !holder -> holder = _pid };
	if
#if WRONG != NOT_DIRTY
	:: dirty ->
		OUTSIDE(0);
		d_step { OUTSIDE(READERS - 1) -> free_slots() }
#endif
	:: else
	fi
}

inline unlock()
{
	holder = 0
}

inline wait_and_unlock()
{
	OUTSIDE(0);
	d_step {
		OUTSIDE(READERS - 1) ->
		free_slots();
		unlock()
	}
}

#if WRONG == NOT_COMPARED
#define UNMOVED true
#else
#define UNMOVED (noted[ME] == NOW && spoiled == unspoiled)
#endif
#if WRONG == SLOT_IN_PLACE
#define FREE (index == NONE -> 0 : index)
#else
#define FREE (index == 0 -> 1 : 0)
#endif

/* Into a slot that nobody can see, then one store. */
inline publish()
{
	d_step {
		UNMOVED ->
		unspoiled = 0;
		to = FREE;
		noted[SLOT + to] = noted[ME];
		slot_head[to] = got
	}
	d_step {
		slot_tail[to] = got;
		got = 0;
		dirty = true
	}
	d_step {
		index = to;
		noted[ME] = 0;
		to = 0
	}
	wait_and_unlock()
}

/* Asks the origin for the value, and publishes it. */
inline fill()
{
#if WRONG == NOTED_LATE
	got = value;
#endif
	noted[ME] = NOW;
	unspoiled = spoiled;
#if WRONG != NOT_SETTLED
	if
	:: !recent
	:: else -> goto over
	fi;
#endif
#if WRONG != NOTED_LATE
	got = value;
#endif
	lock();
	if
	:: publish()
	:: d_step { !UNMOVED -> unlock() }
	fi
}

#define FORGET                 \
	noted[ME] = 0;         \
	unspoiled = 0;         \
	got = 0;               \
	to = 0

/* Killed between any two steps, it begins anew and knows nothing. The kernel takes the lock back. */
proctype filler()
{
	byte unspoiled, got, to;

begin:
	{
		do
		:: fill();
over:
			atomic { FORGET }
		od
	} unless {
		atomic {
			kill == _pid ->
			kill = 0;
			holder = (holder == _pid -> 0 : holder);
			FORGET;
			goto begin
		}
	}
}

proctype killer()
{
	if
	:: kill = FIRST_FILLER
	:: kill = FIRST_FILLER + FILLERS - 1
	fi
}

/* ---- writers elsewhere ------------------------------------------------------------------------ */

inline drop_and_unlock()
{
	if
	:: index != NONE ->
		d_step { raise() };
		dirty = true;
		index = NONE;
		wait_and_unlock()
	:: else -> unlock()
	fi
}

/* Applied without passing here; then a message says so. Who sent it relies on it once it was obeyed. */
proctype key_invalidator()
{
	byte mine;

	d_step { value++; mine = value };
	atomic {
		raise();
		KNOWN(mine)
	}
	lock();
	drop_and_unlock()
}

/* A prefix has no fence: fetches are spoiled, and the index is looked through. */
proctype prefix_invalidator()
{
	byte mine;

	d_step { value++; mine = value };
#if WRONG != DROPPED_FIRST
	spoiled++;
#endif
	lock();
	drop_and_unlock();
#if WRONG == DROPPED_FIRST
	spoiled++;
#endif
	d_step { KNOWN(mine) }
}

init {
	byte i = 0;

	atomic {
		do
		:: i < FILLERS -> run filler(); i++
		:: else -> i = 0; break
		od;
		do
		:: i < READERS -> run reader(i); i++
		:: else -> i = 0; break
		od;
		do
		:: i < WRITERS -> run writer(i); i++
		:: else -> i = 0; break
		od;
		run needless();
#ifdef KILL
		run killer();
#endif
#ifdef INVALIDATE_KEY
		run key_invalidator();
#endif
#ifdef INVALIDATE_PREFIX
		run prefix_invalidator();
#endif
	}
}
