"""The composition root: builds every part from the settings, and is the only module that knows them all.

Called by `consumers.main` and by tests that start a process's parts by hand.
"""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from consumers.answer_files import AnswerFiles
from consumers.barrier import Barrier
from consumers.clear import Clear
from consumers.deadlines import Deadlines
from consumers.dispatch import Dispatch
from consumers.doctor import Doctor
from consumers.ingest import Ingest, Limits
from consumers.intake import Intake
from consumers.lane import LaneWorker, Pace
from consumers.lanes import Lanes
from consumers.mend import Mend
from consumers.orders import Orders
from consumers.parts import CODEC, Parts, new_id, utc_now
from consumers.proving import Proving
from consumers.pulse import LOOP_SILENT_SECONDS, Beat
from consumers.reconcile import Reconcile
from consumers.requeue import Requeue
from consumers.sweep import Sweep
from consumers.teller import Teller
from consumers.watchdog import Watchdog
from domain.access import scopes_by_value
from domain.agency import Agency
from domain.policy import Policy
from infra.channels.build import channel_for
from infra.kafka.horizon import Horizon
from infra.kafka.publisher import Publisher
from infra.postgres.agency_figures import AgencyFigures
from infra.postgres.clearances import Clearances
from infra.postgres.contacts import Contacts
from infra.postgres.deadlines import DeadlineStore
from infra.postgres.deliveries import Deliveries, Lane
from infra.postgres.evidence import Proofs
from infra.postgres.holdings import Reconciliations
from infra.postgres.ledger_sql import OUTBOX_CHANNEL
from infra.postgres.outbox import Outbox
from infra.postgres.overview import Overviews
from infra.postgres.recall_life import RecallLives
from infra.postgres.recalls import Recalls
from infra.postgres.records import Records
from infra.postgres.sessions import Sessions
from infra.postgres.shadow import Shadow
from infra.postgres.upkeep import Upkeep
from infra.wire.kinds import INBOUND_TOPICS

if TYPE_CHECKING:
    from consumers.api.service import Api
    from consumers.console.service import Console, Door
    from infra.oidc import Provider


class House(Parts):
    """One process: its parts, and the roles and commands that are made of them."""

    def ingest(self) -> Ingest:
        """A worker of the group."""
        settings = self.settings
        self.ready_database()
        cluster_id = self.cluster().cluster_id()
        watchdog = Watchdog(
            check_seconds=settings.ingest_check_seconds,
            stalled_seconds=settings.ingest_stalled_seconds,
            log=self.log,
            beat=self.pulse.loop("ingest", limit_seconds=max(LOOP_SILENT_SECONDS, settings.ingest_stalled_seconds)),
        )
        watchdog.guard()
        return Ingest(
            source=self._source(),
            cluster=self.cluster(),
            cluster_id=cluster_id,
            topics=INBOUND_TOPICS,
            streams=self.streams(),
            ledger=self.ledger(cluster_id),
            rules=self.rules(),
            limits=Limits(
                bad_run_max=settings.quarantine_run_max_events,
                bad_share_max_percent=settings.quarantine_share_max_percent,
            ),
            now=utc_now,
            watchdog=watchdog,
            heard=self.heard(),
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
        )

    def dispatch(self) -> Dispatch:
        """A dispatcher of the outbox."""
        database = self.ready_database()
        publisher = self.publisher()
        return Dispatch(
            database=database,
            outbox=Outbox(database),
            publisher=publisher,
            lanes=Lanes(
                self.agencies().now,
                partial(self._lane_worker, publisher),
                keep_lanes=Deliveries(database).keep_lanes,
            ),
            batch_max=self.settings.dispatch_batch_max_records,
            poll_seconds=self.settings.dispatch_poll_seconds,
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
            beat=self.pulse.loop("dispatch"),
        )

    def _lane_worker(self, publisher: Publisher, agency: Agency, lane: Lane, pace: Pace) -> LaneWorker:
        def troubled(words: str) -> None:
            self.log.warning("answers.troubled", agency_id=agency.agency_id, detail=words)

        # Above its lease, which lasts for all the time-outs of a claim.
        beat = self.pulse.loop(
            f"the lane of {agency.agency_id} by {lane.kind}",
            kind="lanes",
            limit_seconds=pace.lease_seconds + LOOP_SILENT_SECONDS,
        )
        channel = channel_for(agency, lane.kind, publish=publisher.publish, now=utc_now, troubled=troubled)
        return LaneWorker(
            lane=lane,
            channel=channel,
            pace=pace,
            deliveries=Deliveries(self.database()),
            read_answers=partial(self._answer_files(beat).take_all, agency.agency_id),
            poll_seconds=self.settings.dispatch_poll_seconds,
            now=utc_now,
            chance=random.random,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
            beat=beat,
            ended=partial(self.pulse.end, beat),
        )

    def _answer_files(self, beat: Beat) -> AnswerFiles:
        return AnswerFiles(
            ledger=self.ledger(),
            rules=self.rules(),
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
            beat=beat,
        )

    def sweep(self) -> Sweep:
        """A sweeper."""
        self.ready_database()
        beat = self.pulse.loop("sweep")
        return Sweep(
            ledger=self.ledger(),
            upkeep=Upkeep(self.database()),
            deadlines=self.deadlines(beat),
            rules=self.rules(),
            every_seconds=self.settings.sweep_seconds,
            ledger_for=timedelta(days=self.settings.ledger_retention_days),
            outbox_for=timedelta(days=self.settings.outbox_retention_days),
            sessions=self.sessions(),
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
            beat=beat,
        )

    def deadlines(self, beat: Beat) -> Deadlines:
        """Who looks at the clocks of the recalls."""
        return Deadlines(
            store=DeadlineStore(self.database()),
            contacts=Contacts(self.database()),
            rules=self.rules(),
            agencies=self.agencies().now,
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
            beat=beat,
        )

    def orders(self, policy: Policy | None = None) -> Orders:
        """Who carries out what people order."""
        return Orders(
            ledger=self.ledger(),
            recalls=Recalls(self.database()),
            rules=self.rules(policy),
            now=utc_now,
            new_id=new_id,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
        )

    def requeue(self) -> Requeue:
        """Who puts events of the quarantine back."""
        return Requeue(
            ledger=self.ledger(),
            quarantine=self.quarantine(),
            rules=self.rules(),
            now=utc_now,
            log=self.log,
            tracing=self.tracing(),
        )

    def doctor(self) -> Doctor:
        """Who looks at everything, and waits for nothing."""
        return Doctor(
            settings=self.settings,
            database=self.database,
            cluster=self.cluster_now,
            unread_since=self._unread_since,
            ask_provider=self._ask_provider,
            now=utc_now,
        )

    def _ask_provider(self) -> str:
        """Where the provider would send people; nothing where none is set."""
        provider = self.provider()
        return provider.address(state="", nonce="", verifier="") if provider else ""

    def clear(self, policy: Policy, barrier: Barrier) -> Clear:
        """Who answers before a transfer."""
        return Clear(
            barrier=barrier,
            ledger=self.ledger(),
            clearances=Clearances(self.database()),
            rules=self.rules(policy),
            shadow=self.settings.shadow,
            now=utc_now,
            new_id=new_id,
            metrics=self.metrics,
            log=self.log,
        )

    def teller(self, policy: Policy, barrier: Barrier | None) -> Teller:
        """Who tells an account's story; without a barrier, as far as it is known."""
        agencies = self.agencies().now
        return Teller(barrier=barrier, history=self.history(), policy=policy, agencies=agencies, now=utc_now)

    def proving(self) -> Proving:
        """Who looks up a placement for a proof; without a broker, as far as it is known."""
        policy = self.policy()
        barrier = self.barrier(policy) if self.settings.kafka_bootstrap_servers else None
        proofs = Proofs(self.database(), CODEC)
        return Proving(barrier=barrier, proofs=proofs, policy=policy, agencies=self.agencies().now, now=utc_now)

    def shadow(self) -> Shadow:
        """The placements beside the answers before them."""
        return Shadow(self.database())

    def reconciliations(self) -> Reconciliations:
        """What agencies said they hold, beside what they ought to hold."""
        return Reconciliations(self.database())

    def reconcile(self) -> Reconcile:
        """Who compares what an agency says it holds, and mends it."""
        policy = self.policy()
        return Reconcile(
            reconciliations=self.reconciliations(),
            barrier=self.barrier(policy) if self.settings.kafka_bootstrap_servers else None,
            mend=Mend(
                ledger=self.ledger(),
                orders=self.orders(policy),
                rules=self.rules(policy),
                now=utc_now,
                log=self.log,
            ),
            now=utc_now,
            new_id=new_id,
            log=self.log,
        )

    def api(self) -> Api:
        """The questions that come over HTTP, and who answers them."""
        # Only this role needs a web framework; the others start sooner without.
        from consumers.api.service import Api, ApiLimits  # noqa: PLC0415 # As above.
        from consumers.callbacks import Callbacks  # noqa: PLC0415 # As above.

        settings, policy = self.settings, self.policy()
        self.ready_database()
        barrier = self.barrier(policy)
        return Api(
            clear=self.clear(policy, barrier),
            intake=Intake(
                ledger=self.ledger(),
                rules=self.rules(policy),
                now=utc_now,
                heard=self.heard(),
                metrics=self.metrics,
                log=self.log,
                tracing=self.tracing(),
            ),
            teller=self.teller(policy, barrier),
            orders=self.orders(policy),
            records=Records(self.database()),
            callbacks=Callbacks(
                agencies=self.agencies().now,
                rules=self.rules(policy),
                recalls=Recalls(self.database()),
                rate_per_second=settings.api_rate_per_second,
                now=utc_now,
                log=self.log,
            ),
            gate=self.gate(),
            limits=ApiLimits(
                answer_seconds=settings.api_answer_max_seconds,
                body_bytes=settings.api_request_max_bytes,
                batch_questions=settings.api_batch_max_questions,
                at_once=settings.api_questions_at_once_max,
                waiting=settings.api_questions_waiting_max,
            ),
            is_ready=self.is_ready,
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
            tracing=self.tracing(),
        )

    def sessions(self) -> Sessions:
        """Who is signed in at the console."""
        return Sessions(
            self.database(),
            lasts=timedelta(hours=self.settings.console_session_hours),
            idle=timedelta(minutes=self.settings.console_idle_minutes),
        )

    def console(self) -> Console:
        """The pages that people look at."""
        from consumers.api.threads import Threads  # noqa: PLC0415 # Only `api` needs a web framework.
        from consumers.console.live import Live  # noqa: PLC0415 # As above.
        from consumers.console.service import Console, ConsoleWays  # noqa: PLC0415 # As above.
        from consumers.console.watch import BROKERS_SECONDS, Sources, Watch  # noqa: PLC0415 # As above.

        settings, policy = self.settings, self.policy()
        database = self.ready_database()
        sessions = Sessions(
            database,
            lasts=timedelta(hours=settings.console_session_hours),
            idle=timedelta(minutes=settings.console_idle_minutes),
        )
        horizon = Horizon(self.connection, INBOUND_TOPICS, client_id=f"{self._client_id()}-console")
        watch = Watch(
            sources=Sources(
                overview=Overviews(database).read,
                ends=partial(horizon.look, deadline_seconds=BROKERS_SECONDS),
                standing=sessions.standing,
                listening=partial(database.listening, OUTBOX_CHANNEL),
            ),
            now=utc_now,
            log=self.log,
        )
        return Console(
            live=Live(watch),
            sessions=self.sessions(),
            records=Records(database),
            gate=self.gate(),
            orders=self.orders(policy),
            requeue=self.requeue(),
            quarantine=self.quarantine(),
            teller=self.teller(policy, self.barrier(policy)),
            history=self.history(),
            recalls=Recalls(database),
            lives=RecallLives(database),
            figures=AgencyFigures(database),
            deliveries=Deliveries(database),
            reconciliations=self.reconciliations(),
            rules=self.rules(policy),
            agencies=self.agencies().now,
            ways=ConsoleWays(
                is_https=settings.console_url.startswith("https:") or bool(settings.api_tls_cert_file),
                timezone=policy.timezone,
                creditor=settings.creditor_name,
            ),
            threads=Threads(answer_seconds=settings.api_answer_max_seconds, log=self.log),
            now=utc_now,
            log=self.log,
            door=self._door(),
        )

    def _door(self) -> Door | None:
        """The way in by the creditor's provider, where one is set."""
        settings, provider = self.settings, self.provider()
        if provider is None:
            return None
        from consumers.console.service import Door  # noqa: PLC0415 # As above.

        return Door(provider, scopes_by_value(settings.console_oidc_scopes))

    def provider(self) -> Provider | None:
        """The creditor's provider, where one is set; it is not asked yet."""
        settings = self.settings
        if not settings.console_oidc_issuer:
            return None
        from infra.oidc import RETURN_PATH, Client, Provider  # noqa: PLC0415 # Only where one is set.

        return Provider(
            Client(
                issuer=settings.console_oidc_issuer,
                client_id=settings.console_oidc_client_id,
                client_secret=settings.console_oidc_client_secret,
                claim=settings.console_oidc_claim,
                returns_to=f"{settings.console_url}{RETURN_PATH}",
            )
        )
