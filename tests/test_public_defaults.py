"""Defaults of imported functions: another one would change other people's results in silence; and
values that cannot be changed, as programs are cached by them."""

import ast
import dataclasses
import importlib
import inspect
import textwrap

import flax.linen as nn
import pytest

DEFAULTS = {
    "jaxlab.attacks": """
        fgsm(low=0.0, high=1.0)
        pgd(low=0.0, high=1.0)
    """,
    "jaxlab.checkpoints.checkpointer": """
        Checkpointer.restore_latest(allow_change=False)
        Checkpointer.load_params(ema=True)
        Checkpointer(keep_latest=3, read_only=False)
    """,
    "jaxlab.checkpoints.reading": """
        load_params(ema=True, best_mode="min")
    """,
    "jaxlab.checks": """
        check_count(at_least=1, below=2147483648)
        check_counts(at_least=1, below=2147483648)
    """,
    "jaxlab.data.classification": """
        load_classification(num_validation=1000, imbalance=1.0, noise=0.0)
        ClassificationSplits()
    """,
    "jaxlab.data.corpus": """
        split_blocks(held_out=0.1, block_tokens=2000, seed=0)
        cooccurrence(window=5)
        Corpus()
    """,
    "jaxlab.data.fetch.derived": """
        Derived()
    """,
    "jaxlab.data.fetch.packages": """
        Package()
    """,
    "jaxlab.data.formats.pictures": """
        read_images(channels=3)
        in_threads(chunk=256)
    """,
    "jaxlab.data.formats.plain_text": """
        read_text(some_damage=False)
        decode_text(some_damage=False)
    """,
    "jaxlab.data.image_sets": """
        ImageSpec(channels=1, image_size=32, pad=0, bits=8)
        ImageSet()
    """,
    "jaxlab.data.images": """
        load(holdout=0, channels=3)
        image_spec(channels=3)
    """,
    "jaxlab.data.labels": """
        long_tail_indices(permute_classes=False)
        sinusoid(noise=0.1)
        split_indices(stratified=True)
    """,
    "jaxlab.data.pipelines.arrays": """
        train_pipeline(process_index=0, process_count=1, flip=False, shift=0, num_threads=2,
            prefetch=4)
        array_pipeline(process_index=0, process_count=1, num_threads=1, prefetch=4)
        eval_batches(process_index=0, process_count=1, seed=0)
        EvalBatches()
    """,
    "jaxlab.data.pipelines.buckets": """
        text_pipeline(process_index=0, process_count=1, num_threads=1, prefetch=4)
        text_eval_batches(process_index=0, process_count=1)
        TextEvalBatches()
    """,
    "jaxlab.data.pipelines.endless": """
        process_rows(process_index=0, process_count=1)
    """,
    "jaxlab.data.questions.cutting": """
        segment(join=True)
    """,
    "jaxlab.data.questions.segments": """
        keep_tokens(min_count=1)
        Limits()
    """,
    "jaxlab.data.questions.sets": """
        load_records(shares=(0.1, 0.1), split_seed=0)
        make_sets(join=True)
        QASet()
    """,
    "jaxlab.data.questions.squad": """
        split_records(shares=(0.1, 0.1), seed=0)
        make_triples(join=True)
        Record()
        Triple()
    """,
    "jaxlab.data.skipgram": """
        SkipgramBlocks(steps=200, stretches=16, length=32, window=5, negatives=16,
            power=0.75, subsample=0.001, shuffle=True)
        skipgram_pipeline(prefetch=2)
    """,
    "jaxlab.data.sources": """
        load_rows(shares=(0.1, 0.1), split_seed=0)
        Found(sizes="")
        Rows()
    """,
    "jaxlab.data.tables": """
        standardize(tails=0.001)
    """,
    "jaxlab.data.text": """
        load_text(split_seed=0)
        encode(truncate=False)
        TextSet()
        TokenSet()
    """,
    "jaxlab.data.wordpiece": """
        train_wordpiece(lowercase=True, min_frequency=2)
    """,
    "jaxlab.decoding.beam": """
        beam_search(length_penalty=0.0, pad_id=0, min_length=1)
    """,
    "jaxlab.decoding.tokenwise": """
        greedy(pad_id=0, min_length=1)
        sample(temperature=1.0, top_k=0, top_p=1.0, pad_id=0, min_length=1)
        truncate_logits(top_k=0, top_p=1.0)
    """,
    "jaxlab.distributions.elementary": """
        soft_clamp(limit=5.0)
    """,
    "jaxlab.distributions.logistic_mixture": """
        discretized_logistic_mixture_log_prob(bits=8, num_mixtures=10)
        discretized_logistic_mixture_sample(num_mixtures=10, temperature=1.0)
        discretized_logistic_mixture_mean(num_mixtures=10)
    """,
    "jaxlab.distributions.pixels": """
        normal_decoder_sample(temperature=1.0)
    """,
    "jaxlab.embedding_dim.angles": """
        angle_entropy(kappa=1.0)
        asymptotic_coefficients(kappa=1.0)
    """,
    "jaxlab.embedding_dim.estimates": """
        skipgram_entropy(kappa=1.0)
        embedding_dim(coefficient=8.33, kappa=1.0, target_entropy=0.0, multiple_of=1)
        embedding_dim_root(coefficient=8.33, kappa=1.0, target_entropy=0.0)
        vocab_capacity(kappa=1.0, target_entropy=0.0)
    """,
    "jaxlab.embedding_dim.related": """
        johnson_lindenstrauss_dim(constant=24.0)
        entropy_invariant_scale(train_length=512)
    """,
    "jaxlab.launch.record": """
        check_data(allow_change=False)
    """,
    "jaxlab.losses.adjustment": """
        adjust_logits(tau=1.0, axis=-1)
        logits_for_prior(axis=-1)
    """,
    "jaxlab.losses.class_vectors": """
        cosine_logits(eps=1e-06)
        tau_normalized_kernel(tau=1.0)
    """,
    "jaxlab.losses.cross_entropies": """
        soft_cross_entropy(axis=-1)
        logit_adjusted_cross_entropy(tau=1.0, axis=-1)
        logit_adjusted_soft_cross_entropy(tau=1.0, axis=-1)
        pairwise_margin_cross_entropy(axis=-1)
        focal_cross_entropy(gamma=2.0, axis=-1)
        ldam_cross_entropy(max_margin=0.5, scale=30.0, axis=-1)
    """,
    "jaxlab.losses.flooding": """
        adaflood_levels(gamma=0.5, alpha=1.0, beta=0.0)
        value_and_flood_grad(has_aux=False)
    """,
    "jaxlab.losses.objectives": """
        cross_entropy(label_smoothing=0.0)
        logit_adjusted(tau=1.0)
        class_balanced(beta=0.999)
        focal(gamma=2.0)
        ldam(max_margin=0.5, scale=30.0)
        equalized(tau=1.0)
    """,
    "jaxlab.losses.priors": """
        check_class_prior(zeros=False)
        class_prior_from_counts(smoothing=0.0)
        estimate_class_prior(smoothing=0.0)
        initial_bias(tau=1.0)
        inverse_prior_weights(power=1.0)
        class_balanced_weights(beta=0.999)
        logit_adjustment_margins(tau=1.0)
        ldam_margins(scale=1.0)
        equalized_margins(tau=1.0)
    """,
    "jaxlab.losses.reports": """
        error_by_frequency(many=100, few=20)
    """,
    "jaxlab.losses.traced": """
        check_traced_prior(zeros=False)
    """,
    "jaxlab.mesh": """
        make_mesh(fsdp=1)
        split(axis=0)
        initialize_distributed(timeout=300)
    """,
    "jaxlab.metrics": """
        MetricsWriter(tensorboard=False)
    """,
    "jaxlab.models.bert.cache": """
        empty_cache(copies=1)
    """,
    "jaxlab.models.bert.heads": """
        SequenceClassifier(dropout=0.1, init_scale=0.02)
        MaskedLMHead(norm_eps=1e-12, init_scale=0.02, tied=True)
    """,
    "jaxlab.models.bert.masked_lm": """
        make_masked_loss(rate=0.15)
    """,
    "jaxlab.models.bert.model": """
        Bert.embed(train=False)
        Bert.run_layers(start=0, train=False)
        Bert(hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072,
            max_positions=512, type_vocab_size=2, norm_eps=1e-12, dropout=0.1,
            attention_dropout=0.1, pooler=True, remat=False, init_scale=0.02)
        BertOutput()
    """,
    "jaxlab.models.bert.prefix": """
        inputs(prefix_parts=1)
        target_window(prefix_parts=1)
    """,
    "jaxlab.models.classifiers": """
        Head(use_bias=True)
        Conv(kernel_size=3, stride=1)
        MLP(features=(128, 128), use_bias=True)
        ResNet(widths=(16, 32, 64), blocks=1, stem_stride=1)
    """,
    "jaxlab.models.conv.backend": """
        backend_convolution(stride=1, dilation=1, groups=1)
    """,
    "jaxlab.models.conv.depthwise": """
        depthwise_conv(stride=1, dilation=1)
    """,
    "jaxlab.models.nvae.building": """
        groups_per_scale(adaptive=False, minimum=1)
    """,
    "jaxlab.models.nvae.cells": """
        Op(norm=True, dilation=1, expansion=0, size=0, groups=0)
    """,
    "jaxlab.models.nvae.evaluation": """
        importance_bound(chunk=10)
        reestimate_sampling_statistics(batch=16, num_batches=100)
    """,
    "jaxlab.models.nvae.latents": """
        LatentGroup(first=False)
        GroupOutput()
        NVAEOutput()
        GroupInput()
    """,
    "jaxlab.models.nvae.layers": """
        Conv(size=3, stride=1, dilation=1, groups=1, use_bias=True, weight_norm=True,
            data_init=False, log_gain=0.0)
        BatchNorm(epsilon=1e-05, copies=1)
    """,
    "jaxlab.models.nvae.model": """
        NVAE.bottom_up(train=False)
        NVAE.top_down(temperature=1.0, train=False)
        NVAE.decode(temperature=1.0)
        NVAE.reconstruct(temperature=1.0)
        NVAE.sample(temperature=1.0, train=False)
        NVAE(channels=1, bits=8, num_mixtures=10, crop=0, groups=(2, 1), latents=20,
            enc_channels=32, dec_channels=32, blocks=2, pre_cells=3, post_cells=3,
            enc_cells=1, dec_cells=1, squeeze_excitation=True, branch_scale=0.1,
            residual_posterior=True, flows=0, clamp=5.0, sigma_floor=0.01, patch=1,
            scan=True)
    """,
    "jaxlab.models.nvae.objective": """
        prepare_images(static=False)
        init_variables(spectral=True)
        training_objective(spectral_iterations=4)
        make_loss(kl_portion=0.3, kl_constant=0.0001, kl_minimum=0.0001, penalty=0.01,
            spectral_iterations=4, static_binarization=False)
    """,
    "jaxlab.models.nvae.regularization": """
        init_spectral(iterations=40)
        spectral_penalty(iterations=4)
    """,
    "jaxlab.models.nvae.scan": """
        rematerialised(loop=False)
    """,
    "jaxlab.models.skipgram": """
        init_params(words=0.1, contexts=0.1)
        fit_counts(learning_rate=0.05, scale=0.1, every=10)
        block_loss(num_negatives=5.0)
        summed_loss(num_negatives=5.0)
        sgd_steps(num_negatives=5.0)
    """,
    "jaxlab.models.vae.bound": """
        importance_bound(chunk=10)
    """,
    "jaxlab.models.vae.images": """
        prepare_images(bits=8, static=False)
    """,
    "jaxlab.models.vae.likelihoods": """
        Likelihood.sample(temperature=1.0)
        Likelihood(channels=1, bits=8, num_mixtures=10, crop=0)
    """,
    "jaxlab.models.vae.warmup": """
        kl_coefficient(portion=0.3, constant=0.0001, minimum=0.0001)
    """,
    "jaxlab.optim.flooding": """
        alternating_rates(ascent_first=False)
    """,
    "jaxlab.optim.optimizers": """
        Given(stacked=False)
        momentum(momentum=0.9, nesterov=False)
        adam(b1=0.9, b2=0.999, eps=1e-08)
        adamax(b1=0.9, b2=0.999, eps=1e-08)
        adamw(b1=0.9, b2=0.999, eps=1e-08, weight_decay=0.0001)
        adamw_weissi(direction=0.0, min_norm=0.0, b1=0.9, b2=0.999, eps=1e-08)
        l2(l2=0.0)
        weissi(weissi=0.0, weissi_direction=0.0)
        spectral(spectral=0.0)
        weight_decay(weight_decay=0.0)
        weissi_decay(weissi_decay=0.0, weissi_min_norm=0.0)
        make_optimizer(stacked=False)
    """,
    "jaxlab.optim.penalties": """
        penalty_grads(has_aux=False)
        add_weissi(direction=0.0, eps=1e-08, stacked=False)
        weissi_decay(min_norm=0.0, stacked=False)
        adamw_weissi(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0, direction=0.0, min_norm=0.0,
            norm_eps=1e-08, stacked=False, nesterov=False)
    """,
    "jaxlab.optim.schedules": """
        warmup_linear_decay(warmup=0.1)
        cosine(final_learning_rate=0.0)
        step(drop_at=(0.5, 0.75), drop_factor=0.1)
        linear(final_learning_rate=0.0)
        floored(final_learning_rate=0.0)
    """,
    "jaxlab.optim.skipping": """
        skip_large_updates(factor=10.0, decay=0.99, warmup_steps=100)
    """,
    "jaxlab.regularizers.baselines": """
        init_spectral_vectors(iterations=30, stacked=False)
        spectral_norm_penalty(iterations=1, stacked=False)
    """,
    "jaxlab.regularizers.masks": """
        matrices_only(stacked=False)
        vectors_only(stacked=False)
        convolutions(stacked=False)
        every_leaf(stacked=False)
        mask_by_name(stacked=False)
        select(stacked=False)
    """,
    "jaxlab.regularizers.norms": """
        squared_norm(stacked=False)
        weissi(log_norm=1.0, direction=0.0, eps=1e-08, stacked=False)
        log_norm_sum(eps=1e-08, stacked=False)
        weissi_grad(log_norm=1.0, direction=0.0, eps=1e-08, stacked=False)
        squared_gradient_norm(has_aux=False)
        gradient_norm_penalty(has_aux=False)
    """,
    "jaxlab.regularizers.scale": """
        residual_log_bound(eps=1e-08)
    """,
    "jaxlab.signals": """
        Interrupted(saved=False)
        StopFlag(several=False)
    """,
    "jaxlab.studies.cells": """
        finished(allow_change=False)
        Cell()
    """,
    "jaxlab.studies.comparison": """
        choose(stop="last", average_last=1)
        final(average_last=1)
        Chosen()
    """,
    "jaxlab.studies.stages": """
        run(keep_checkpoints=True, allow_change=False)
    """,
    "jaxlab.studies.tables": """
        paired(level=0.95)
    """,
    "jaxlab.tasks.classification.reports": """
        predict(batch_size=500)
    """,
    "jaxlab.tasks.classification.runs": """
        make_program(norms=False, pgd_steps=20, num_attacked=500, example_losses=False)
        held_out_losses(folds=2)
    """,
    "jaxlab.tasks.classification.training": """
        path(path=0.0)
    """,
    "jaxlab.tasks.compression.kinds": """
        stage_params(own_embeddings=False)
        stage_mask(own_embeddings=False)
    """,
    "jaxlab.tasks.compression.losses": """
        make_distillation_loss(temperature=2.0, soft=0.5)
    """,
    "jaxlab.tasks.embeddings.estimates": """
        estimates(kappa=1.0, multiple_of=1, top_words=2000, window=5)
        entropy_lines(kappa=1.0)
    """,
    "jaxlab.tasks.embeddings.judgements": """
        judge(min_pairs=3)
    """,
    "jaxlab.tasks.embeddings.sampling": """
        neighbour_lines(count=8)
    """,
    "jaxlab.tasks.embeddings.word_vectors": """
        nearest(count=5)
    """,
    "jaxlab.tasks.images.evaluation": """
        evaluate(num_samples=100, chunk=10, batch_size=100, refresh=0, seed=0)
    """,
    "jaxlab.tasks.images.pictures": """
        Pictures.samples(temperature=1.0)
        Pictures.resampled(temperature=1.0)
        Pictures(columns=10, seed=0, reestimate=0)
    """,
    "jaxlab.tasks.question_generation.evaluation": """
        Evaluation.questions(beam_size=1)
        Evaluation.answers(num_passages=200, num_samples=10, top_p=0.95)
        Evaluation.round_trip(f1=0.8)
        Evaluation(batch_size=32, limit=0, seed=0)
        intervals(seed=0)
        agreement(f1=0.8)
    """,
    "jaxlab.tasks.question_generation.losses": """
        TargetLayout(prefix_parts=1)
        target_nll(replace=0.0)
        make_target_loss(replace=0.0)
    """,
    "jaxlab.tasks.question_generation.pairs": """
        check_options(mode="sampled_answers", num_pairs=1, beam_size=1, length_penalty=0.0,
            temperature=1.0, top_k=0, top_p=1.0)
        ask(beam_size=1, length_penalty=0.0)
        answer(beam_size=1, length_penalty=0.0)
        generate_pairs(num_pairs=1, beam_size=1, length_penalty=0.0, temperature=1.0,
            top_k=0, top_p=1.0)
    """,
    "jaxlab.tasks.question_generation.texts": """
        make_generate(mode="sampled_answers", num_pairs=1, spans_only=False)
        generate_texts(seed=0, num_pairs=1, keep_all=False, batch_size=16)
        ask_texts(batch_size=32, beam_size=1, length_penalty=0.0)
        answer_texts(batch_size=32)
        QAPair()
    """,
    "jaxlab.tasks.question_generation.written": """
        keep_pairs(f1=0.8, batch_size=32)
        write(format="table")
    """,
    "jaxlab.theseus": """
        replacement_schedule(slope=0.0)
        forward(frozen_below=False)
        choose_layers(which="first")
    """,
    "jaxlab.train.blueprint": """
        Blueprint()
    """,
    "jaxlab.train.loop": """
        resume(keep_latest=3, tensorboard=False, allow_change=False, best_mode="min")
        fit(log_every=100, eval_every=0, checkpoint_every=0, max_skipped_in_a_row=20)
    """,
    "jaxlab.train.runner": """
        run(keep_latest=3, log_every=100, eval_every=0, checkpoint_every=0,
            tensorboard=False, allow_change=False)
    """,
    "jaxlab.train.saved": """
        LoadedRun()
    """,
    "jaxlab.train.state": """
        create_state(ema=True)
        TrainState()
    """,
    "jaxlab.train.step": """
        make_train_step(ema_decay=0.999, ema_warmup=True, accumulate=1)
    """,
}


@pytest.mark.parametrize("module", DEFAULTS)
def test_defaults(module):
    for call in ast.parse(textwrap.dedent(DEFAULTS[module])).body:
        found = importlib.import_module(module)
        for name in ast.unparse(call.value.func).split("."):
            found = getattr(found, name)
        if dataclasses.is_dataclass(found) and not issubclass(found, nn.Module):
            assert found.__dataclass_params__.frozen, found
        given = inspect.signature(found).parameters
        wanted = {word.arg: ast.literal_eval(word.value) for word in call.value.keywords}
        assert {name: given[name].default for name in wanted} == wanted, ast.unparse(call)
